//! Reading a long structure piece by piece, as far as the file goes.

use crate::Error;
use crate::source::{Metered, ReadAt};
use crate::units::{HostOffset, Span, to_u64, to_usize};

/// Bytes of a chunk: a multiple of every entry's width.
const CHUNK_LEN: u64 = 64 << 10;

/// Reads a span in chunks; the bytes behind the end of the file never appear.
#[derive(Debug)]
pub struct Chunks<'i, R> {
    source: &'i Metered<R>,
    what: &'static str,
    at: HostOffset,
    end: HostOffset,
    buf: Vec<u8>,
}

/// A piece of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'b> {
    /// Where it starts in the file.
    pub at: HostOffset,
    /// Its bytes.
    pub bytes: &'b [u8],
}

impl<'i, R: ReadAt> Chunks<'i, R> {
    pub(super) fn new(source: &'i Metered<R>, what: &'static str, span: Span) -> Self {
        Self { source, what, at: span.at, end: span.within(source.len()).end(), buf: Vec::new() }
    }

    /// The next piece, or an error, after which nothing comes.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Option<Result<Chunk<'_>, Error>> {
        let left = self.end.0.saturating_sub(self.at.0);
        if left == 0 {
            return None;
        }
        self.buf.resize(to_usize(left.min(CHUNK_LEN)), 0);
        let at = self.at;
        match self.source.read(self.what, at, &mut self.buf) {
            Ok(bytes) => {
                // A file that has become shorter meanwhile ends here.
                self.at = if bytes.is_empty() { self.end } else { at.saturating_add(to_u64(bytes.len())) };
                Some(Ok(Chunk { at, bytes }))
            }
            Err(error) => {
                self.at = self.end;
                Some(Err(error))
            }
        }
    }

    /// What is left, from the first byte that is not zero to the last; `None` where all are zero.
    ///
    /// # Errors
    /// Where the bytes could not be read.
    pub fn nonzero(mut self) -> Result<Option<Span>, Error> {
        let mut found: Option<Span> = None;
        while let Some(chunk) = self.next() {
            let Chunk { at, bytes } = chunk?;
            let place = |index: usize| at.saturating_add(to_u64(index));
            let first = bytes.iter().position(|byte| *byte != 0).map(place);
            let last = bytes.iter().rposition(|byte| *byte != 0).map(place);
            if let (Some(first), Some(last)) = (first, last) {
                let start = found.map_or(first, |found| found.at);
                found = Some(Span::new(start, last.saturating_add(1).0.saturating_sub(start.0)));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn a_span_is_read_as_far_as_the_file_goes() {
        let file: Vec<u8> = (0..=255).cycle().take(200_001).collect();
        let source = Metered::new(file, Limits::default()).unwrap();
        let mut chunks = Chunks::new(&source, "table", Span::new(HostOffset(1), u64::MAX));
        let mut lens = Vec::new();
        while let Some(chunk) = chunks.next() {
            lens.push(chunk.unwrap().bytes.len());
        }
        assert_eq!(lens, [65536, 65536, 65536, 200_000 - 3 * 65536]);
    }

    #[test]
    fn nonzero_bytes_are_found_across_chunks() {
        let mut file = vec![0; 200_000];
        let nonzero = |file: &Vec<u8>, at, len| {
            let source = Metered::new(file.clone(), Limits::default()).unwrap();
            Chunks::new(&source, "gap", Span::new(HostOffset(at), len)).nonzero().unwrap()
        };
        assert_eq!(nonzero(&file, 0, u64::MAX), None);
        (file[10], file[199_999]) = (1, 1);
        assert_eq!(nonzero(&file, 0, u64::MAX), Some(Span::new(HostOffset(10), 199_990)));
        assert_eq!(nonzero(&file, 11, 199_988), None);
        assert_eq!(nonzero(&file, 11, 199_989), Some(Span::new(HostOffset(199_999), 1)));
    }
}
