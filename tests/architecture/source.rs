//! What the rules are about in each file.

use proc_macro2::{Ident, TokenStream};
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, Meta, UseTree};

use super::tokens::{line, paths, public_words, with, words};

/// The names that lead from the root of the crate to a module, or to what it declares.
pub(crate) type Names = Vec<String>;

#[derive(Default)]
pub(crate) struct Source {
    /// Below src/.
    pub(crate) name: String,
    /// Empty for lib.rs.
    pub(crate) module: Names,
    /// Those before the unit tests.
    pub(crate) lines: usize,
    pub(crate) imports: Vec<Import>,
    /// What each `use` makes a name for here, and where that comes from.
    pub(crate) aliases: Vec<(Names, Names)>,
    /// The words of what is public.
    pub(crate) public: Vec<Ident>,
    pub(crate) unsafe_lines: Vec<usize>,
    /// Modules in files of their own that only tests have.
    test_modules: Vec<Names>,
}

pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Names,
    pub(crate) in_tests: bool,
}

/// Reads files of src/, each from its name there and its text.
pub(crate) fn read(files: &[(impl AsRef<str>, impl AsRef<str>)]) -> Vec<Source> {
    let mut sources: Vec<_> =
        files.iter().map(|(name, text)| read_file(name.as_ref(), text.as_ref())).collect();
    let test_modules: Vec<_> = sources.iter().flat_map(|source| source.test_modules.clone()).collect();
    for source in &mut sources {
        if test_modules.iter().any(|module| source.module.starts_with(module)) {
            source.lines = 0;
            source.public.clear();
            source.imports.iter_mut().for_each(|import| import.in_tests = true);
        }
    }
    sources
}

fn read_file(name: &str, text: &str) -> Source {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("src/{name}: {error}"));
    let file: File = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("src/{name}: {error}"));

    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let module: Names = path.split('/').filter(|&part| part != "lib").map(str::to_owned).collect();
    let mut reader = Reader { module: module.clone(), ..Reader::default() };
    reader.visit_file(&file);

    let lines = file.items.iter().find_map(line_of_tests).map_or(text.lines().count(), |line| line - 1);
    let mut public = public_words(tokens.clone(), false);
    public.retain(|word| line(word) <= lines);
    let unsafe_lines = words(tokens).iter().filter(|word| *word == "unsafe").map(line).collect();
    Source { name: name.to_owned(), module, lines, public, unsafe_lines, ..reader.source }
}

/// The line that the file's own unit tests begin at, if `item` is these.
fn line_of_tests(item: &Item) -> Option<usize> {
    let Item::Mod(module) = item else { return None };
    let first = module.attrs.first()?;
    (module.content.is_some() && is_for_tests(&module.attrs)).then(|| first.pound_token.span.start().line)
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        let words = words(list.tokens.clone());
        let has = |wanted| words.iter().any(|word| word == wanted);
        list.path.is_ident("cfg") && has("test") && !has("any") && !has("not")
    })
}

#[derive(Default)]
struct Reader {
    /// Where the reader is, inline modules included.
    module: Names,
    in_tests: bool,
    source: Source,
}

impl<'a> Visit<'a> for Reader {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        let was_in_tests = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.module.push(item.ident.to_string());
        if self.in_tests && item.content.is_none() {
            self.source.test_modules.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.in_tests = was_in_tests;
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let was_in_tests = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        self.use_tree(&item.tree, &[]);
        self.in_tests = was_in_tests;
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.import(line(&path.segments[0].ident), &names);
        visit::visit_path(self, path);
    }

    fn visit_token_stream(&mut self, tokens: &'a TokenStream) {
        for (line, names) in paths(tokens.clone()) {
            self.import(line, &names);
        }
    }
}

impl Reader {
    fn import(&mut self, line: usize, names: &[String]) {
        if let Some(path) = self.absolute(names) {
            self.source.imports.push(Import { line, path, in_tests: self.in_tests });
        }
    }

    /// Where a path leads that says what it starts from. Others lead into this file, its children or another crate.
    fn absolute(&self, names: &[String]) -> Option<Names> {
        let [first, _, ..] = names else { return None };
        if !["crate", "qcow2_inspect", "self", "super"].contains(&first.as_str()) {
            return None;
        }
        let mut path = self.module.clone();
        for name in names {
            match name.as_str() {
                "crate" | "qcow2_inspect" => path.clear(),
                "self" => {}
                "super" => _ = path.pop(),
                _ => path.push(name.clone()),
            }
        }
        Some(path)
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let (name, alias) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(before, &path.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.use_tree(tree, before)),
            UseTree::Glob(glob) => {
                return self.import(glob.star_token.spans[0].start().line, &with(before, &"*"));
            }
            UseTree::Name(name) if name.ident == "self" => (&name.ident, before.last().cloned()),
            UseTree::Name(name) => (&name.ident, Some(name.ident.to_string())),
            UseTree::Rename(renamed) => (&renamed.ident, Some(renamed.rename.to_string())),
        };
        let names = with(before, name);
        self.import(line(name), &names);
        let origin = self.absolute(&names).unwrap_or_else(|| [self.module.as_slice(), &names].concat());
        self.source.aliases.extend(alias.map(|alias| (with(&self.module, &alias), origin)));
    }
}
