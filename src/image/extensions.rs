//! The area behind the header: extensions, and the backing file's name.

use std::ops::Range;

use super::{Chunks, Image, Name};
use crate::format::Layout;
use crate::format::extension::{
    self, BACKING_FORMAT, BITMAPS, BitmapsExtension, CRYPTO, CryptoExtension, DATA_FILE, FEATURE_TABLE,
};
use crate::format::features::FeatureName;
use crate::format::header::MAX_BACKING_NAME_LEN;
use crate::format::scalar::Magic;
use crate::parse::extensions::{Extension, Extensions};
use crate::source::{Metered, ReadAt};
use crate::units::{Geometry, HostOffset, Span, to_u64, to_usize};
use crate::{Error, Limit, Limits};

use super::Header;

/// Bytes read at first; nearly every list ends within them.
const FIRST_READ: u64 = 4096;
/// Stands in for the cluster size where `cluster_bits` makes no sense.
const DEFAULT_CLUSTER_SIZE: u64 = 64 << 10;

/// The extensions' bytes, and where each known one is.
#[derive(Clone, Debug)]
pub(super) struct ExtensionArea {
    bytes: Vec<u8>,
    at: HostOffset,
    end: HostOffset,
    known: Vec<(Magic, HostOffset, Range<usize>)>,
    list_end: HostOffset,
    cut: Option<Error>,
}

impl ExtensionArea {
    /// Reads the area, no further than its list goes.
    pub(super) fn read<R: ReadAt>(
        source: &Metered<R>,
        header: &Header,
        geometry: Option<Geometry>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let cluster_size = first_cluster_len(geometry);
        let at = header.extensions_at();
        let end = match header.v2.backing_file_offset.0 {
            0 => cluster_size,
            name => name.min(cluster_size),
        };
        let area_len = end.saturating_sub(at.0);
        let mut want = area_len.min(FIRST_READ);
        loop {
            let bytes = source.read_vec("the header extensions", at, want)?;
            let area = Self { bytes, at, end: HostOffset(end), known: Vec::new(), list_end: at, cut: None };
            let whole = want == area_len || to_u64(area.bytes.len()) < want;
            let ended = area.iter().any(|extension| extension.is_ok_and(|extension| extension.is_end()));
            if whole || ended {
                return Ok(area.indexed());
            }
            if want >= limits.extension_area_len {
                let cut = Some(limits.spent(Limit::ExtensionAreaLen, at.saturating_add(want)));
                return Ok(Self { cut, ..area.indexed() });
            }
            want = want.saturating_mul(8).min(area_len).min(limits.extension_area_len);
        }
    }

    /// Remembers the last of each known extension, which is the one that QEMU uses.
    fn indexed(mut self) -> Self {
        let mut known: Vec<(Magic, HostOffset, Range<usize>)> = Vec::new();
        let mut list_end = self.at;
        for extension in self.iter().map_while(Result::ok) {
            list_end = extension.end();
            let magic = extension.head.magic;
            if extension::name(magic).is_some() {
                let start = to_usize(extension.data_at().0.saturating_sub(self.at.0));
                let range = start..start.saturating_add(extension.data.len());
                known.retain(|(other, ..)| *other != magic);
                known.push((magic, extension.data_at(), range));
            }
        }
        (self.known, self.list_end) = (known, list_end);
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Extension<'_>, Error>> {
        let area_len = self.end.0.saturating_sub(self.at.0);
        Extensions::new(&self.bytes, area_len, self.at).chain(self.cut.map(Err))
    }

    fn data(&self, magic: Magic) -> Option<(HostOffset, &[u8])> {
        let (_, at, range) = self.known.iter().find(|(other, ..)| *other == magic)?;
        Some((*at, self.bytes.get(range.clone())?))
    }
}

impl<R: ReadAt> Image<R> {
    /// Where the extension list has to end: at the backing file's name, or at the end of the first cluster.
    pub fn extensions_limit(&self) -> HostOffset {
        self.extensions.end
    }

    /// Behind the last extension that fits.
    pub fn extensions_end(&self) -> HostOffset {
        self.extensions.list_end
    }

    /// The limit that kept the end of the list from being read. Whatever is not found may be there.
    pub fn unread_extensions(&self) -> Option<Error> {
        self.extensions.cut
    }

    /// Whether the list, as far as it was read, has an extension of this type.
    pub fn has_extension(&self, magic: Magic) -> bool {
        self.extensions().flatten().any(|extension| extension.head.magic == magic)
    }

    /// Whether it has one, or may have one in a part that was not read.
    pub fn may_have_extension(&self, magic: Magic) -> bool {
        self.unread_extensions().is_some() || self.has_extension(magic)
    }

    /// The backing file's format, as its extension has it, and where that stands.
    pub fn backing_format(&self) -> Option<(HostOffset, &[u8])> {
        self.extensions.data(BACKING_FORMAT)
    }

    /// The external data file's name, as its extension has it, and where that stands.
    pub fn data_file(&self) -> Option<(HostOffset, &[u8])> {
        self.extensions.data(DATA_FILE)
    }

    /// The bitmaps extension, and where its data stands; `None` if it is missing or too short.
    pub fn bitmaps_extension(&self) -> Option<(HostOffset, BitmapsExtension)> {
        let (at, data) = self.extensions.data(BITMAPS)?;
        Some((at, BitmapsExtension::decode(data)?))
    }

    /// The full disk encryption header pointer, and where its data stands; `None` if it is missing or too
    /// short.
    pub fn crypto_extension(&self) -> Option<(HostOffset, CryptoExtension)> {
        let (at, data) = self.extensions.data(CRYPTO)?;
        Some((at, CryptoExtension::decode(data)?))
    }

    /// The whole rows of the feature name table, and where each stands.
    pub fn feature_names(&self) -> impl Iterator<Item = (HostOffset, FeatureName)> {
        let (at, data) = self.extensions.data(FEATURE_TABLE).unwrap_or_default();
        feature_names(at, data)
    }

    /// The bytes of the first cluster behind the header, the extensions and the backing file's name. Nothing
    /// has to be there.
    pub fn header_gap(&self) -> Option<Span> {
        let cluster_size = self.geometry()?.cluster_size();
        let name_end = self.backing_name.as_ref().ok().and_then(Option::as_ref).map(|name| name.span().end());
        let start = self.extensions.list_end.max(name_end.unwrap_or_default());
        let len = cluster_size.checked_sub(start.0).filter(|len| *len > 0)?;
        Some(Span::new(start, len))
    }
}

/// Bytes of the first cluster.
fn first_cluster_len(geometry: Option<Geometry>) -> u64 {
    geometry.map_or(DEFAULT_CLUSTER_SIZE, Geometry::cluster_size)
}

/// Reads the header fields behind the known ones, as far as the first cluster goes, and says which bytes of
/// them are not zero.
pub(super) fn unknown_fields<R: ReadAt>(
    source: &Metered<R>,
    header: &Header,
    geometry: Option<Geometry>,
    limits: &Limits,
) -> Result<Option<Span>, Error> {
    let Some(Span { at, len }) = header.unknown_fields() else { return Ok(None) };
    let len = len.min(first_cluster_len(geometry).saturating_sub(at.0));
    if len > limits.extension_area_len {
        return Err(limits.spent(Limit::ExtensionAreaLen, at));
    }
    Chunks::new(source, "the header", Span::new(at, len)).nonzero()
}

impl<'a> Extension<'a> {
    /// The whole rows of a feature name table, and where each stands; another extension has none.
    pub fn feature_names(&self) -> impl Iterator<Item = (HostOffset, FeatureName)> + use<'a> {
        let data = if self.head.magic == FEATURE_TABLE { self.data } else { &[] };
        feature_names(self.data_at(), data)
    }
}

/// The whole rows of a feature name table that stands at `at`.
fn feature_names(at: HostOffset, data: &[u8]) -> impl Iterator<Item = (HostOffset, FeatureName)> {
    let rows = data.chunks_exact(to_usize(FeatureName::LEN));
    (0_u64..).zip(rows).filter_map(move |(n, row)| {
        let at = at.saturating_add(n.saturating_mul(FeatureName::LEN));
        Some((at, FeatureName::decode(row)?))
    })
}

/// Reads the backing file's name; one that is longer than the specification allows is cut there.
pub(super) fn backing_name<R: ReadAt>(source: &Metered<R>, header: &Header) -> Result<Option<Name>, Error> {
    let (at, len) = (header.v2.backing_file_offset, u64::from(header.v2.backing_file_size));
    if !header.names_backing_file() {
        return Ok(None);
    }
    let bytes = source.read_vec("the backing file's name", at, len.min(MAX_BACKING_NAME_LEN.into()))?;
    Ok(Some(Name { at, bytes }))
}
