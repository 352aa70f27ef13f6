//! What is read from bare tokens, so that it is seen in macros too, which cannot be parsed before they are expanded.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

use super::source::Names;

/// What a bare `pub` makes public. A field of a struct is not among them.
const ITEMS: [&str; 8] = ["const", "enum", "fn", "static", "struct", "trait", "type", "use"];

pub(crate) fn line(word: &Ident) -> usize {
    word.span().start().line
}

pub(crate) fn words(tokens: TokenStream) -> Vec<Ident> {
    let words = |tree| match tree {
        TokenTree::Ident(word) => vec![word],
        TokenTree::Group(group) => words(group.stream()),
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(words).collect()
}

/// The words of what is public: each item up to its body, and the bodies of enums and traits, which are public as a
/// whole. With `all`, the tokens stand in such a body.
pub(crate) fn public_words(tokens: TokenStream, all: bool) -> Vec<Ident> {
    let mut found = Vec::new();
    let (mut is_public, mut is_body_public) = (all, false);
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Ident(word) if word == "pub" => {
                let next = trees.peek();
                is_public = all || next.is_some_and(|next| ITEMS.contains(&next.to_string().as_str()));
            }
            TokenTree::Ident(word) if is_public => {
                is_body_public |= word == "enum" || word == "trait";
                found.push(word);
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                found.extend(public_words(group.stream(), is_body_public));
                (is_public, is_body_public) = (all, false);
            }
            TokenTree::Group(group) => found.extend(public_words(group.stream(), is_public)),
            TokenTree::Punct(mark) if mark.as_char() == ';' => is_public = all,
            _ => {}
        }
    }
    found
}

/// Whatever looks like a path, with its line, as it leads from where the tokens stand.
pub(crate) fn paths(tokens: TokenStream) -> Vec<(usize, Names)> {
    let mut found = Vec::new();
    let trees: Vec<_> = tokens.into_iter().collect();
    let mut rest = trees.as_slice();
    while let [tree, after @ ..] = rest {
        rest = match tree {
            TokenTree::Ident(word) if word == "mod" => {
                let (body, after) = module(after);
                found.extend(paths(body).into_iter().map(|(line, names)| (line, outside(names))));
                after
            }
            TokenTree::Ident(first) => {
                let mut names = Vec::new();
                let after = follow(&[], rest, &mut names);
                found.extend(names.into_iter().map(|names| (line(first), names)));
                after
            }
            TokenTree::Group(group) => {
                found.extend(paths(group.stream()));
                after
            }
            _ => after,
        };
    }
    found
}

/// What stands in a module whose name comes first, and what stands behind it. The name may be a macro's parameter.
fn module(rest: &[TokenTree]) -> (TokenStream, &[TokenTree]) {
    match rest {
        [TokenTree::Ident(_), TokenTree::Group(body), after @ ..] => (body.stream(), after),
        [mark, TokenTree::Ident(_), TokenTree::Group(body), after @ ..] if is(mark, '$') => {
            (body.stream(), after)
        }
        _ => (TokenStream::new(), rest),
    }
}

/// A path in a module as it leads from outside of it.
fn outside(names: Names) -> Names {
    match names.split_first() {
        Some((first, rest)) if first == "super" => [&["self".to_owned()], rest].concat(),
        _ => names,
    }
}

/// Follows a path, or each where it ends in braces, and returns what stands behind it.
fn follow<'a>(before: &[String], rest: &'a [TokenTree], found: &mut Vec<Names>) -> &'a [TokenTree] {
    match rest {
        [TokenTree::Ident(name), first, second, after @ ..] if is(first, ':') && is(second, ':') => {
            follow(&with(before, name), after, found)
        }
        [TokenTree::Group(group), after @ ..] if group.delimiter() == Delimiter::Brace => {
            let trees: Vec<_> = group.stream().into_iter().collect();
            for part in trees.split(|tree| is(tree, ',')) {
                follow(before, part, found);
            }
            after
        }
        [last, after @ ..] if matches!(last, TokenTree::Ident(_)) || is(last, '*') => {
            found.push(with(before, last));
            after
        }
        _ => {
            found.push(before.to_vec());
            rest
        }
    }
}

pub(crate) fn with(names: &[String], name: &impl ToString) -> Names {
    [names, &[name.to_string()]].concat()
}

fn is(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(mark) if mark.as_char() == wanted)
}
