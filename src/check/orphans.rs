//! Clusters that have a refcount and that nothing refers to: what they hold.

use std::fmt;

use super::cluster_runs::ClusterRuns;
use super::contents::{Contents, contents};
use super::context::Context;
use crate::Error;
use crate::format::mapping::L2Entry;
use crate::source::ReadAt;
use crate::text::Size;
use crate::units::{HostOffset, Span, to_u64};

/// How many bytes of them are looked at.
const LOOKED_AT: u64 = 64 << 20;

impl ClusterRuns {
    /// Looks at what they hold, as far as that is stored, up to a budget.
    pub(super) fn look<R: ReadAt>(&self, cx: &Context<'_, R>) -> Result<Looked, Error> {
        let mut looked = Looked::default();
        for cluster in self.clusters() {
            let Some(at) = cx.geometry.host_offset(cluster) else { break };
            let span = cx.geometry.cluster_at(at);
            let data = cx.image.source().next_data(span.at)?;
            if data.is_none_or(|data| data >= span.end()) {
                continue;
            }
            if looked.bytes >= LOOKED_AT {
                looked.is_part = true;
                break;
            }
            self.cluster(cx, span, &mut looked)?;
        }
        Ok(looked)
    }

    fn cluster<R: ReadAt>(&self, cx: &Context<'_, R>, span: Span, looked: &mut Looked) -> Result<(), Error> {
        let mut chunks = cx.image.chunks("a cluster that nothing refers to", span);
        let mut is_first = true;
        while let Some(chunk) = chunks.next().transpose()? {
            looked.bytes = looked.bytes.saturating_add(to_u64(chunk.bytes.len()));
            let nonzero = chunk.bytes.iter().filter(|byte| **byte != 0).count();
            looked.nonzero = looked.nonzero.saturating_add(to_u64(nonzero));
            if std::mem::take(&mut is_first) && nonzero != 0 {
                let here = contents(cx, chunk.bytes);
                if here == Contents::Entries && looked.table.is_none() {
                    let leads = self.led_to(cx, chunk.bytes);
                    looked.table = (leads != 0).then_some((span.at, leads));
                }
                looked.first.get_or_insert(here);
            }
        }
        Ok(())
    }

    /// To how many of them these entries lead.
    fn led_to<R: ReadAt>(&self, cx: &Context<'_, R>, bytes: &[u8]) -> u64 {
        let entries = bytes.as_chunks::<8>().0.iter().map(|entry| L2Entry(u64::from_be_bytes(*entry)));
        let leads = |entry: &L2Entry| {
            !entry.is_compressed() && self.has(cx.geometry.cluster_of(entry.standard_offset()))
        };
        to_u64(entries.filter(leads).count())
    }
}

/// What orphans hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    /// How many bytes were looked at, and how many of them are not zero.
    bytes: u64,
    nonzero: u64,
    /// Whether there are more.
    is_part: bool,
    /// What the first that is not all zeros looks like.
    first: Option<Contents>,
    /// One that is a table, and how many others it leads to: an older copy of a table that was lost, most likely.
    pub(super) table: Option<(HostOffset, u64)>,
}

impl Looked {
    /// Whether all of them are zeros.
    pub(super) fn are_zeros(&self) -> bool {
        self.nonzero == 0 && !self.is_part
    }
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.is_part { " at least" } else { "" };
        write!(f, "{}{of} of them not zero", Size(self.nonzero))?;
        if let Some(first) = self.first {
            write!(f, ", the first looks like {first}")?;
        }
        if let Some((at, leads)) = self.table {
            write!(f, "; the one at {at} is a table that leads to {leads} of the others")?;
        }
        Ok(())
    }
}
