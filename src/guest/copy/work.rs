//! What one thread does: reads, decodes, fills a portion.

use super::super::{Compression, Decoder, Disk};
use super::fault::{Cause, Fault};
use super::plan::{Piece, Source, add_behind_end};
use crate::source::{Metered, ReadAt};
use crate::units::{GuestSpan, HostOffset, to_u64, to_usize};
use crate::{Error, Limit, Limits};

/// The external data file of an image. Only its user can say which file that is.
#[derive(Debug)]
pub struct DataFile<D>(Metered<D>);

impl<D: ReadAt> DataFile<D> {
    /// Takes the file.
    ///
    /// # Errors
    /// Where its length cannot be had.
    pub fn new(source: D, limits: Limits) -> Result<Self, Error> {
        Metered::new(source, limits).map(Self)
    }
}

/// The bytes of a portion.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub(super) bytes: Vec<u8>,
    /// What could not be had, and is zeros.
    pub(super) faults: Vec<Fault>,
    /// The first bytes that lie behind the end of the file, and how many do.
    pub(super) behind_end: Option<GuestSpan>,
}

/// One thread's tools.
pub(super) struct Worker<'i, R, D> {
    disk: Disk<'i, R>,
    data: Option<&'i DataFile<D>>,
    decoder: Option<Decoder>,
    stream: Vec<u8>,
    cluster: Vec<u8>,
}

impl<'i, R: ReadAt, D: ReadAt> Worker<'i, R, D> {
    pub(super) fn new(disk: Disk<'i, R>, data: Option<&'i DataFile<D>>) -> Self {
        Self { disk, data, decoder: None, stream: Vec::new(), cluster: Vec::new() }
    }

    /// Fills `bytes`, whatever they were, with what the pieces say.
    pub(super) fn fill(&mut self, pieces: &[Piece], bytes: Vec<u8>) -> Filled {
        let len = pieces.iter().fold(0_u64, |len, piece| len.saturating_add(piece.guest.len));
        let mut filled = Filled { bytes, ..Filled::default() };
        filled.bytes.resize(to_usize(len), 0);
        let mut bytes = std::mem::take(&mut filled.bytes);
        let mut rest = bytes.as_mut_slice();
        for piece in pieces {
            let (part, behind) = rest.split_at_mut_checked(to_usize(piece.guest.len)).unwrap_or_default();
            rest = behind;
            if let Err(cause) = self.piece(piece, part, &mut filled) {
                part.fill(0);
                filled.faults.push(Fault { guest: piece.guest, cause });
            }
        }
        filled.bytes = bytes;
        filled
    }

    fn piece(&mut self, piece: &Piece, out: &mut [u8], filled: &mut Filled) -> Result<(), Cause> {
        match piece.source {
            Source::Zeros => out.fill(0),
            Source::Stream { at, len, skip } => self.stream(at, len, skip, out)?,
            Source::Host(at) => {
                let there = self.host(at, out)?;
                let rest = out.get_mut(there..).unwrap_or_default();
                if !rest.is_empty() {
                    rest.fill(0);
                    let len = piece.guest.len.saturating_sub(to_u64(there));
                    let start = piece.guest.start.saturating_add(to_u64(there));
                    if self.disk.image().has_external_data() {
                        // Of the image itself QEMU does not fill up the last cluster; of this file nothing may be missing.
                        let cause = Cause::BehindDataFile;
                        filled.faults.push(Fault { guest: GuestSpan { start, len }, cause });
                        return Ok(());
                    }
                    add_behind_end(&mut filled.behind_end, GuestSpan { start, len });
                }
            }
        }
        Ok(())
    }

    /// Reads from the file that holds the data, and says how much of it was there.
    fn host(&self, at: HostOffset, out: &mut [u8]) -> Result<usize, Cause> {
        let image = self.disk.image();
        let there = match self.data {
            Some(data) if image.has_external_data() => data.0.read("the data file", at, out),
            None if image.has_external_data() => return Err(Cause::DataFile),
            _ => image.source().read("guest data", at, out),
        };
        there.map(<[u8]>::len).map_err(Cause::Read)
    }

    fn stream(&mut self, at: HostOffset, len: u64, skip: u64, out: &mut [u8]) -> Result<(), Cause> {
        let (image, size) = (self.disk.image(), self.disk.geometry.cluster_size());
        if size > image.limits().decoded_cluster_len {
            return Err(Cause::Read(image.limits().spent(Limit::DecodedClusterLen, at)));
        }
        let number = image.header().compression_type();
        let method = Compression::new(number).ok_or(Cause::Method(number))?;
        // Behind the end of the file QEMU reads zeros: a stream may end there without its last sector.
        self.stream.resize(to_usize(len), 0);
        let there =
            image.source().read("a compressed cluster", at, &mut self.stream).map_err(Cause::Read)?.len();
        self.stream.get_mut(there..).unwrap_or_default().fill(0);
        let decoder = self.decoder.get_or_insert_with(|| Decoder::new(method));
        let fault = |fault| Cause::Stream { at, fault };
        if to_usize(size) == out.len() {
            return decoder.decompress(&self.stream, out).map_err(fault);
        }
        self.cluster.resize(to_usize(size), 0);
        decoder.decompress(&self.stream, &mut self.cluster).map_err(fault)?;
        let part = self.cluster.get(to_usize(skip)..).unwrap_or_default();
        for (to, from) in out.iter_mut().zip(part) {
            *to = *from;
        }
        Ok(())
    }
}
