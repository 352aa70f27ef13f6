//! What a report tells, event by event, and what takes it: each sink is a format.
//!
//! A report tells its facts, lists and findings once, and beside them what people read instead. A sink takes of that what
//! its format has: [`TextSink`](super::TextSink) the text, the others the rest.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::row::{Heading, Row};
use super::schema::{List, Shape};
use super::subject::Subject;
use crate::finding::{Finding, Findings};
use crate::image::{Section, SnapshotNames};
use crate::units::HostOffset;

/// Takes a report. Each method does nothing unless a format has use for it, and fails where it cannot be written.
#[expect(unused_variables, reason = "what a format has no use for is named all the same")]
pub trait Sink {
    /// The report begins. `shape` says what its keys mean; `subject` is the file that it is about, if it is about one.
    fn begin(&mut self, shape: &'static Shape, subject: Option<&Subject<'_>>) -> io::Result<()> {
        Ok(())
    }

    /// What the snapshots of the image are called, for whatever is told of them.
    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        Ok(())
    }

    /// Facts that are known from the start, each a key with its value. They come right behind the beginning.
    fn head<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        self.facts(facts)
    }

    /// Facts, each a key with its value.
    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        Ok(())
    }

    /// Facts that a reader of the whole document can count for himself, and a reader of lines cannot.
    fn totals<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        Ok(())
    }

    /// What people read. It gets the page, and whether that has colours.
    fn text(&mut self, write: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }

    /// A list begins.
    fn list(&mut self, list: List) -> io::Result<()> {
        Ok(())
    }

    /// An item of the list at hand.
    fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        Ok(())
    }

    /// An item of the list at hand begins that has a list of its own, whose items follow.
    fn open<T: Serialize>(&mut self, item: &T, list: List) -> io::Result<()> {
        Ok(())
    }

    /// The list of an item ends, and the item with these last keys.
    fn close<T: Serialize>(&mut self, rest: &T) -> io::Result<()> {
        Ok(())
    }

    /// The list ends.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A section of a dump begins: a list of rows.
    fn section(&mut self, section: Section) -> io::Result<()> {
        self.list(List::rows(section))
    }

    /// A structure begins; the rows that follow are its own.
    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A field or an entry.
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Raw bytes of the structure; `more` of them follow in the next call.
    fn bytes(&mut self, at: HostOffset, bytes: &[u8], more: bool) -> io::Result<()> {
        Ok(())
    }

    /// The section ends.
    fn end_section(&mut self, section: Section) -> io::Result<()> {
        self.end()
    }

    /// Whether it takes each finding as soon as it is certain. Who tells it need not keep any then.
    fn is_following(&self) -> bool {
        false
    }

    /// A finding that is certain, for those that follow.
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        Ok(())
    }

    /// The findings that were kept.
    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        Ok(())
    }

    /// Whether something was left out because so much was written.
    fn is_cut(&self) -> bool {
        false
    }

    /// The report ends.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
