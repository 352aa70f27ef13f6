//! Finds circles of imports between the modules of a room.
//!
//! Sisters alone are judged: a parent and its child are one thing in two files, whichever names the other. What one
//! file imports from another counts for the two sisters that these files lie in, however deep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Names, Source};

/// How many modules may pass a name on. There is no end to a `use` of another crate by its bare name: it stands for
/// itself.
const LONGEST_CHAIN: usize = 8;

/// Which sister imports which, both in one folder, and where.
type Edges<'a> = BTreeMap<(&'a str, &'a str), String>;

/// Every circle, with the places of its imports.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let circles = circles(sources).into_iter();
    circles.map(|(circle, places)| format!("{circle}: a circle of imports{places}")).collect()
}

/// The shortest circle through each import, as `src/folder: module → module → …`, with the places of its imports.
fn circles(sources: &[Source]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (folder, edges) in &edges(sources) {
        for &(from, to) in edges.keys() {
            let Some(mut circle) = shortest_way(edges, to, from) else { continue };
            // It begins nowhere, so it is told from the same module whichever import it was found by.
            let first = circle.iter().enumerate().min_by_key(|(_, module)| **module).map_or(0, |(at, _)| at);
            circle.rotate_left(first);
            circle.push(circle[0]);
            let places =
                circle.windows(2).map(|pair| format!("\n    {}", edges[&(pair[0], pair[1])])).collect();
            found.insert(format!("src/{}: {}", folder.join("/"), circle.join(" → ")), places);
        }
    }
    found
}

fn edges(sources: &[Source]) -> BTreeMap<&[String], Edges<'_>> {
    let modules: BTreeSet<_> = sources.iter().map(|source| source.module.as_slice()).collect();
    let aliases: BTreeMap<_, _> = sources
        .iter()
        .flat_map(|source| &source.aliases)
        .map(|(name, origin)| (name.as_slice(), origin))
        .collect();
    let mut edges: BTreeMap<_, Edges<'_>> = BTreeMap::new();
    for source in sources {
        for import in source.imports.iter().filter(|import| !import.in_tests) {
            let Some(home) = home(&import.path, &modules, &aliases) else { continue };
            let shared = source.module.iter().zip(home).take_while(|(here, there)| here == there).count();
            // Imports from another room are for the floors to judge.
            if let (1.., Some(from), Some(to)) = (shared, source.module.get(shared), home.get(shared)) {
                let place = || format!("src/{}:{}: imports `{to}`", source.name, import.line);
                edges.entry(&home[..shared]).or_default().entry((from, to)).or_insert_with(place);
            }
        }
    }
    edges
}

/// The module whose file declares what `path` leads to, by way of the files that only pass it on.
fn home<'a>(
    path: &[String],
    modules: &BTreeSet<&'a [String]>,
    aliases: &BTreeMap<&[String], &Names>,
) -> Option<&'a [String]> {
    let mut path = path.to_vec();
    for _ in 0..LONGEST_CHAIN {
        let file = *(0..=path.len()).rev().find_map(|len| modules.get(&path[..len]))?;
        let origin = |len| Some([aliases.get(&path[..len])?.as_slice(), &path[len..]].concat());
        match (file.len() + 1..=path.len()).find_map(origin) {
            Some(origin) => path = origin,
            None => return Some(file),
        }
    }
    None
}

fn shortest_way<'a>(edges: &Edges<'a>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::from([from]);
    let mut ways = VecDeque::from([vec![from]]);
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        for &(_, next) in edges.keys().filter(|(importer, _)| *importer == last) {
            if seen.insert(next) {
                ways.push_back([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}
