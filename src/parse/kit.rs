//! The combinators that every list parser is made of, and their one kind of failure.

use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Parser};

use crate::Error;
use crate::format::Layout;
use crate::units::{HostOffset, to_u64, to_usize};

/// A part that does not fit into what is left of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault<'a> {
    what: &'static str,
    wanted: u64,
    rest: &'a [u8],
}

impl Fault<'_> {
    /// The error for the library's users; `input` is what the parser was given, and stands at `at`.
    pub(crate) fn located(self, input: &[u8], at: HostOffset) -> Error {
        let parsed = to_u64(input.len().saturating_sub(self.rest.len()));
        Error::Cut {
            what: self.what,
            at: at.saturating_add(parsed),
            wanted: self.wanted,
            had: to_u64(self.rest.len()),
        }
    }
}

impl<'a> ParseError<&'a [u8]> for Fault<'a> {
    fn from_error_kind(rest: &'a [u8], _: ErrorKind) -> Self {
        Self { what: "structure", wanted: 0, rest }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// `len` bytes, which are called `what` where they do not fit.
pub(super) fn field<'a>(
    what: &'static str,
    len: u64,
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = Fault<'a>> {
    move |input: &'a [u8]| {
        take::<_, _, Fault<'a>>(to_usize(len))
            .parse_complete(input)
            .map_err(|_| nom::Err::Error(Fault { what, wanted: len, rest: input }))
    }
}

/// A fixed layout, which is called `what` where it does not fit.
pub(super) fn layout<'a, T: Layout>(
    what: &'static str,
) -> impl Parser<&'a [u8], Output = T, Error = Fault<'a>> {
    move |input: &'a [u8]| {
        let (rest, bytes) = field(what, T::LEN).parse_complete(input)?;
        match T::decode(bytes) {
            Some(value) => Ok((rest, value)),
            None => Err(nom::Err::Error(Fault { what, wanted: T::LEN, rest: input })),
        }
    }
}

/// What `parser` takes, and then the padding to a multiple of 8 bytes as far as it is there: the last entry
/// of a list may end without it.
pub(super) fn padded8<'a, T>(
    mut parser: impl Parser<&'a [u8], Output = T, Error = Fault<'a>>,
) -> impl Parser<&'a [u8], Output = (T, &'a [u8]), Error = Fault<'a>> {
    move |input: &'a [u8]| {
        let (rest, value) = parser.parse_complete(input)?;
        let taken = input.len().saturating_sub(rest.len());
        let padding = taken.next_multiple_of(8).saturating_sub(taken).min(rest.len());
        let (rest, padding) = take(padding).parse_complete(rest)?;
        Ok((rest, (value, padding)))
    }
}

/// Runs a parser over `input`, which stands at `at`; with the value comes what is left.
pub(super) fn run<'a, T>(
    mut parser: impl FnMut(&'a [u8]) -> IResult<&'a [u8], T, Fault<'a>>,
    input: &'a [u8],
    at: HostOffset,
) -> Result<(T, &'a [u8]), Error> {
    match parser(input) {
        Ok((rest, value)) => Ok((value, rest)),
        Err(nom::Err::Error(fault) | nom::Err::Failure(fault)) => Err(fault.located(input, at)),
        // Only streaming parsers ask for more, and none of ours is one.
        Err(nom::Err::Incomplete(_)) => {
            Err(Fault { what: "structure", wanted: 0, rest: input }.located(input, at))
        }
    }
}
