//! Runs the rules about the header, the extensions and the LUKS header over the damages of the kit.

use std::collections::BTreeSet;
use std::convert::Infallible;

use qcow2_inspect::finding::{Finding, Severity, Structure};
use qcow2_inspect::image::{Section, Tables, Walk};
use qcow2_inspect::rules::named::BAD_MAGIC;
use qcow2_inspect::rules::{Judge, stopped};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::{Damage, damages};

use crate::{load, valid_images};

/// Everything that the rules of the three families find in a file.
pub(crate) fn findings(file: &[u8]) -> Vec<Finding> {
    let mut out = Vec::new();
    let image = match Image::open(file, Limits::default()) {
        Ok(image) => image,
        Err(error) => return vec![stopped(error, Structure::Header, &BAD_MAGIC)],
    };
    let (mut walk, mut judge) = (Walk::new(&image, Tables::Unread), Judge::new(&image, None));
    for section in [Section::Header, Section::Extensions, Section::Luks] {
        let Ok(()) = walk.section(section, &mut |part| -> Result<(), Infallible> {
            judge.part(&part, &mut out);
            Ok(())
        });
    }
    out
}

/// The codes of all findings in a file.
pub(crate) fn check_file(file: &[u8]) -> Vec<&'static str> {
    findings(file).iter().map(|finding| finding.rule.code).collect()
}

/// What a test of a damage compares: everything of a finding but its words.
fn line(damage: &Damage, finding: &Finding) -> String {
    let at = finding.at.map_or("-".to_owned(), |at| format!("{}+{}", at.at, at.len));
    let limit = if finding.qemu_limit { " qemu" } else { "" };
    format!(
        "{}/{}: {} {} {at}{limit}: {}, wanted {}",
        damage.rule.code,
        damage.variant,
        finding.severity.as_str(),
        finding.structure,
        finding.found,
        finding.wanted,
    )
}

/// Holds every damage of these families to what it promises.
pub(crate) fn families(families: &[&str]) {
    let golden: Vec<&str> = include_str!("heads.txt").lines().collect();
    let mut lines = Vec::new();
    for damage in
        damages().filter(|damage| families.iter().any(|family| damage.rule.code.starts_with(family)))
    {
        let name = format!("{}/{} of {}", damage.rule.code, damage.variant, damage.base);
        let base = load(damage.base);
        let quiet: BTreeSet<_> = check_file(&base.bytes).into_iter().collect();

        let mut near = base.clone();
        (damage.nearly)(&mut near);
        let fires = |finding: &Finding| {
            finding.rule == damage.rule
                && (damage.rule.severity == Severity::Note || finding.severity > Severity::Note)
        };
        let had = findings(&near.bytes);
        assert!(!had.iter().any(fires), "nearly {name}: {had:#?}");

        let mut broken = base;
        (damage.breaks)(&mut broken);
        let had = findings(&broken.bytes);
        lines.extend(had.iter().filter(|finding| fires(finding)).map(|finding| line(damage, finding)));
        assert!(had.iter().any(fires), "{name}: {had:#?}");
        let codes: BTreeSet<_> = had.iter().map(|finding| finding.rule.code).collect();
        let wanted: BTreeSet<_> = damage.also.iter().copied().chain([damage.rule.code]).collect();
        let excess: Vec<_> = codes.difference(&wanted).filter(|code| !quiet.contains(*code)).collect();
        // The rules of the tables are run elsewhere.
        let missing: Vec<_> =
            wanted.difference(&codes).filter(|code| code.starts_with(['H', 'E', 'K'])).collect();
        assert!(excess.is_empty() && missing.is_empty(), "{name}: {excess:?} too many, {missing:?} too few");
    }
    for line in &lines {
        assert!(golden.contains(&line.as_str()), "not in heads.txt:\n{}", lines.join("\n"));
    }
    let expected = golden.iter().filter(|line| families.iter().any(|family| line.starts_with(family)));
    for line in expected {
        assert!(lines.iter().any(|had| had == line), "no longer found: {line}");
    }
}

/// Valid images that have findings above note, and which.
const EXCEPTIONS: &[(&str, &[&str])] = &[("v3-aes", &["H18"]), ("v3-backing-no-format", &["H42"])];

#[test]
fn valid_images_are_quiet() {
    for (name, bytes) in valid_images() {
        let had = findings(&bytes);
        let loud: Vec<_> = had
            .iter()
            .filter(|finding| finding.severity > Severity::Note)
            .map(|finding| finding.rule.code)
            .collect();
        let wanted = EXCEPTIONS.iter().find(|(other, _)| *other == name).map_or(&[][..], |(_, codes)| *codes);
        assert_eq!(loud, wanted, "{name}: {had:#?}");
    }
}
