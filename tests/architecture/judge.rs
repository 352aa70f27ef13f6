//! Judges each file by the floors of the rooms, by its size, and by what it makes public.

use std::collections::BTreeMap;

use super::source::Source;
use super::tokens::line;
use super::{FLOORS, MAX_LINES, OUR_OWN_AFFAIR};

/// What is wrong with the files of a folder wherever their rooms stand, as `folder/file.rs:line: what`.
pub(crate) fn violations_of_files(folder: &str, sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(|source| told(folder, source, of_file(source))).collect()
}

/// Everything that is wrong with the files of src/, as `src/file.rs:line: what`.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let library = sources.iter().filter(|source| source.module.is_empty());
    let reexports: BTreeMap<_, _> = library
        .flat_map(|library| &library.aliases)
        .map(|(name, origin)| (name[0].as_str(), origin[0].as_str()))
        .collect();
    sources
        .iter()
        .flat_map(|source| {
            let mut found = violations_of(source, &reexports);
            found.sort();
            found.dedup();
            told("src", source, found)
        })
        .collect()
}

fn told(folder: &str, source: &Source, found: Vec<(usize, String)>) -> impl Iterator<Item = String> {
    found.into_iter().map(move |(line, what)| format!("{folder}/{}:{line}: {what}", source.name))
}

fn of_file(source: &Source) -> Vec<(usize, String)> {
    let mut found: Vec<_> = source.unsafe_lines.iter().map(|&line| (line, "`unsafe`".to_owned())).collect();
    if source.lines > MAX_LINES {
        let lines = source.lines;
        found.push((1, format!("{lines} lines before the unit tests, over {MAX_LINES}: two rooms in one?")));
    }
    found
}

fn violations_of(source: &Source, reexports: &BTreeMap<&str, &str>) -> Vec<(usize, String)> {
    let mut found = of_file(source);
    // The parsers are nobody else's: lib.rs does not make them public.
    if source.module.first().is_none_or(|room| room != "parse") {
        let told = source.public.iter().filter(|word| OUR_OWN_AFFAIR.iter().any(|ours| word == ours));
        found.extend(told.map(|word| (line(word), format!("`{word}` in what is public"))));
    }

    let Some(room) = source.module.first() else { return found };
    if floor(room).is_none() {
        found.push((1, format!("the room `{room}` has no floor; give it one in tests/architecture/main.rs")));
    }
    for import in &source.imports {
        let Some(first) = import.path.first().map(String::as_str) else { continue };
        let to = reexports.get(first).copied().unwrap_or(first);
        found.extend(wrong_way(room, to).map(|wrong| (import.line, wrong)));
    }
    found
}

/// Why the room `from` may not import `to`, if so.
fn wrong_way(from: &str, to: &str) -> Option<String> {
    let Some(above) = floor(to) else {
        return Some(format!("`{to}` is neither a room nor re-exported by lib.rs from one"));
    };
    let below = floor(from)?;
    if from == to || above == 0 && below == 0 {
        None
    } else if above == below {
        Some(format!("`{from}` imports `{to}`, which stands beside it"))
    } else {
        (above > below).then(|| format!("`{from}` imports `{to}`, which stands above it"))
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}
