//! QCOW2 images made and damaged on purpose, for the tests and fuzzers of whatever reads them.
//!
//! - [`writer`] writes a valid image of any shape from a [`Plan`](writer::Plan): every cluster size and refcount width,
//!   both versions, snapshots, bitmaps, subclusters, compressed clusters, backing and data files. It shares no code
//!   with a reader where it writes tables, and says where everything in the image is.
//! - [`Model`] makes such a plan of any bytes: a fuzzer that feeds it gets another valid image from each input.
//! - [`damages`] has for each rule of the catalogue an edit that breaks it and nothing else, and a near miss that does
//!   not. Each is made for a small image in corpus/ of the repository, which this package does not have.
//! - [`Draft`] is an image in memory whose fields are changed by their names, for damages of one's own.
//! - [`mutate`] is a mutator for libFuzzer that knows the format: plausible pointers, counts, cuts, swapped entries.
//! - [`oracle`] says what must hold of [`qcow2_inspect`] for any bytes. [`check`] holds what it reads to the plan.
//! - [`readers`] fail, stutter or read in small pieces.
//!
//! The writer and the model fit any parser. They write whole images, of some KiB where clusters are small, and the same
//! description gives the same bytes.
//!
//! ```
//! use qcow2_inspect::check::{CheckOptions, Verdict, check};
//! use qcow2_inspect::finding::Finding;
//! use qcow2_inspect::format::header::field;
//! use qcow2_inspect::{Image, Limits};
//! use qcow2_testkit::Draft;
//! use qcow2_testkit::writer::{EntryPlan, Fill, Plan, TablePlan};
//!
//! // A disk of 1 MiB in clusters of 4 KiB, the third of which holds data.
//! let mut plan = Plan::new(12, 1 << 20);
//! plan.clusters.push(Fill(7));
//! plan.tables.push(TablePlan { entries: [(2, EntryPlan::Data(0))].into() });
//! plan.active.l1.insert(0, 0);
//! let written = plan.write();
//!
//! let mut nobody = |finding: Finding| panic!("{}", finding.message());
//! let image = Image::open(written.bytes.as_slice(), Limits::default())?;
//! assert_eq!(check(&image, &CheckOptions::default(), &mut nobody).verdict, Verdict::Clean);
//!
//! // The same with an L2 table off its cluster boundary.
//! let mut draft = Draft::new(written.bytes);
//! let entry = draft.l1_entry(0);
//! draft.put_u64(entry, draft.get(entry, 8) + 512);
//! let mut rules = Vec::new();
//! check(&draft.image(), &CheckOptions::default(), &mut |finding: Finding| rules.push(finding.rule.code));
//! assert!(rules.contains(&"L02"));
//! # Ok::<(), qcow2_inspect::Error>(())
//! ```

mod agree;
mod damage;
mod draft;
pub mod edit;
mod expect;
mod lists;
mod model;
pub mod oracle;
pub mod readers;
mod rng;
#[cfg(feature = "schemas")]
mod schemas;
pub mod writer;

pub use damage::{Damage, damages};
pub use draft::Draft;
pub use edit::{Edit, mutate};
pub use expect::check;
pub use model::{Model, check_model};
pub use oracle::{exercise, exercise_fully, exercise_model, memory_bound};
pub use rng::Rng;
#[cfg(feature = "schemas")]
pub use schemas::check_schema;
