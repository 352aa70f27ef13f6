//! What one L2 entry gives the guest, with the rules that make QEMU refuse to read it.

use crate::finding::Rule;
use crate::format::mapping::{Compressed, L2Entry, Mapping, Subcluster, SubclusterBitmap};
use crate::image::{Image, sector_end};
use crate::rules::named::{
    COMPRESSED_BEYOND_FILE, COMPRESSED_WITH_DATA_FILE, DATA_CLUSTER_BEYOND_FILE, DATA_CLUSTER_UNALIGNED,
    DATA_FILE_OFFSET_MISMATCH, SUBCLUSTER_ALLOCATED_AND_ZERO, SUBCLUSTER_WITHOUT_CLUSTER,
    ZERO_FLAG_IN_VERSION_2,
};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, GuestSpan, HostOffset, Span};

/// Where the bytes of a run of guest offsets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// From the host offset that is told.
    Data,
    /// They are zeros.
    Zero,
    /// From a compressed stream.
    Compressed,
    /// From the backing file; zeros where there is none.
    Unallocated,
    /// From nowhere: the tables break this rule here. QEMU gives an error, or takes it for unallocated.
    Broken(&'static Rule),
}

/// The word for bytes that nobody can tell.
const MISSING: &str = "missing";

impl State {
    /// The word that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Zero => "zero",
            Self::Compressed => "compressed",
            Self::Unallocated => "unallocated",
            Self::Broken(_) => MISSING,
        }
    }

    /// Whether QEMU takes for unallocated what it is not: a table is not there, and it reads zeros for entries.
    pub fn is_lost_silently(self) -> bool {
        matches!(self, Self::Broken(rule) if rule.attributes.reads_as_unallocated)
    }
}

/// A run of guest offsets whose bytes come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The guest's offsets.
    pub guest: GuestSpan,
    /// Where their bytes come from.
    pub state: State,
    /// Where the first of them stands in the image file, or in the external data file where the image has one. With
    /// states other than [`State::Data`] the room is kept for later writes. Encrypted data stands there as ciphertext.
    pub host: Option<HostOffset>,
    /// The rule for which the bytes are not in the file although the tables say so: they would lie behind its end. QEMU
    /// takes them for what `state` says, and reads zeros or gives an error.
    pub missing: Option<&'static Rule>,
    /// Bytes of the compressed stream at `host`, up to the end of its last sector, where clusters were asked for one
    /// by one; else 0.
    pub stream_len: u64,
}

impl Extent {
    /// The word that reports use for where its bytes come from.
    pub fn kind(&self) -> &'static str {
        if self.missing.is_some() { MISSING } else { self.state.as_str() }
    }

    /// The rule for which nobody can tell the bytes.
    pub fn lost_for(&self) -> Option<&'static Rule> {
        match self.state {
            State::Broken(rule) => Some(rule),
            _ => self.missing,
        }
    }

    /// Whether both are missing for the same rule.
    pub(super) fn is_missing_with(&self, next: &Self) -> bool {
        self.missing.is_some() && (self.state, self.missing) == (next.state, next.missing)
    }

    /// Whether `next` goes on where this one ends, in the guest and, if both have a place there, in the file.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        let hosts = match (self.host, next.host) {
            (Some(host), Some(next)) => host.checked_add(self.guest.len) == Some(next),
            (None, None) => true,
            _ => false,
        };
        hosts
            && self.state == next.state
            && self.missing == next.missing
            && self.stream_len == 0
            && next.stream_len == 0
    }
}

/// What decides, beside an entry, what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) geometry: Geometry,
    pub(super) external_data: bool,
    has_zero_bit: bool,
    file_end: u64,
    sound_end: u64,
}

/// What an entry gives a whole cluster, or with subclusters the start of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) state: State,
    /// Where the cluster starts in the file, whether its bytes count or are only kept for later.
    pub(super) host: Option<HostOffset>,
    pub(super) stream: Option<Compressed>,
    /// See [`Extent::missing`].
    pub(super) missing: Option<&'static Rule>,
}

impl Reading {
    pub(super) fn new<R: ReadAt>(image: &Image<R>, geometry: Geometry) -> Self {
        let external_data = image.has_external_data();
        Self {
            geometry,
            external_data,
            has_zero_bit: image.header().has_v3(),
            file_end: sector_end(image.file_len()),
            sound_end: image.sound_end(),
        }
    }

    /// What an entry without subclusters says, or a compressed one.
    #[inline]
    pub(super) fn cluster(&self, entry: L2Entry, guest: GuestOffset) -> Cluster {
        let (state, host, stream) = match entry.mapping(self.geometry, self.external_data) {
            Mapping::Unallocated => (State::Unallocated, None, None),
            Mapping::Zero => (State::Zero, None, None),
            Mapping::ZeroAllocated(at) => (State::Zero, Some(at), None),
            Mapping::Data(at) => (State::Data, Some(at), None),
            Mapping::Compressed(stream) => (State::Compressed, None, Some(stream)),
        };
        match self.broken(entry, state, host, guest) {
            Some(rule) => Cluster { state: State::Broken(rule), host: None, stream: None, missing: None },
            None => Cluster { state, host, stream, missing: self.missing(state, host, stream) },
        }
    }

    /// The rule for which the bytes of a cluster are not in the file.
    #[inline]
    fn missing(
        &self,
        state: State,
        host: Option<HostOffset>,
        stream: Option<Compressed>,
    ) -> Option<&'static Rule> {
        if let Some(stream) = stream {
            let span = Span::new(stream.at, stream.len);
            let is_there = stream.high_bits == 0
                && span.end().0.saturating_sub(self.file_end) < self.geometry.cluster_size();
            return (!is_there).then_some(&COMPRESSED_BEYOND_FILE);
        }
        host.filter(|host| host.0 >= self.data_end(state)).map(|_| &DATA_CLUSTER_BEYOND_FILE)
    }

    /// Where a cluster in this state must start before. One of zeros needs no room in the file, but one that is further
    /// away than any file of this image was never meant as zeros.
    pub(super) fn data_end(&self, state: State) -> u64 {
        match state {
            _ if self.external_data => u64::MAX,
            State::Data => self.file_end,
            _ => self.sound_end,
        }
    }

    /// Whether a cluster is further away than any file of this image.
    pub(super) fn is_unsound(&self, host: Option<HostOffset>) -> bool {
        host.is_some_and(|host| host.0 >= self.data_end(State::Zero))
    }

    /// What QEMU refuses about an entry, in its order (block/qcow2-cluster.c, `qcow2_get_host_offset`).
    fn broken(
        &self,
        entry: L2Entry,
        state: State,
        host: Option<HostOffset>,
        guest: GuestOffset,
    ) -> Option<&'static Rule> {
        if state == State::Zero && !self.has_zero_bit {
            return Some(&ZERO_FLAG_IN_VERSION_2);
        }
        if entry.is_compressed() {
            return self.external_data.then_some(&COMPRESSED_WITH_DATA_FILE);
        }
        match host {
            Some(host) if !host.is_aligned(self.geometry.cluster_size()) => Some(&DATA_CLUSTER_UNALIGNED),
            Some(host) if self.external_data && host.0 != guest.0 => Some(&DATA_FILE_OFFSET_MISMATCH),
            _ => None,
        }
    }

    /// What an extended entry says of the subcluster `index` of its cluster, where `cluster` is what its first
    /// half says.
    pub(super) fn subcluster(cluster: Cluster, bitmap: SubclusterBitmap, index: u32) -> State {
        match (cluster.state, bitmap.get(index)) {
            (State::Data | State::Unallocated, _) if bitmap.conflicting() != 0 => {
                State::Broken(&SUBCLUSTER_ALLOCATED_AND_ZERO)
            }
            (State::Unallocated, _) if bitmap.allocated() != 0 => State::Broken(&SUBCLUSTER_WITHOUT_CLUSTER),
            (State::Data, Subcluster::Allocated) => State::Data,
            (State::Data | State::Unallocated, Subcluster::Zero) => State::Zero,
            (State::Data | State::Unallocated, _) => State::Unallocated,
            (state, _) => state,
        }
    }
}
