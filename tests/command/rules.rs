//! `rules` and `explain`: the catalogue as the command shows it.

use std::collections::BTreeSet;

use qcow2_inspect::rules::catalogue;

use crate::process::{check_refusal, run};

#[test]
fn rules_lists_the_whole_catalogue() {
    let codes: Vec<&str> = catalogue().map(|rule| rule.code).collect();
    let text = run(&["rules"]).report();
    let shown: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(shown, codes);
    let document = run(&["rules", "--format=json"]).json();
    assert_eq!(document["schema"], "qcow2-inspect/rules/1");
    let listed = document["rules"].as_array().unwrap();
    assert!(listed.iter().map(|rule| rule["code"].as_str().unwrap()).eq(codes));
}

#[test]
fn rules_takes_a_prefix_in_either_case() {
    for prefix in ["l0", "L0"] {
        let text = run(&["rules", prefix]).report();
        assert_eq!(text.lines().count(), 9);
        assert!(text.lines().all(|line| line.starts_with("L0")), "{text}");
    }
    assert_eq!(run(&["rules", "X"]).report(), "");
    assert_eq!(run(&["rules", "L01", "L02"]).code, Some(1));
}

#[test]
fn every_rule_is_explained() {
    let mut texts = BTreeSet::new();
    for rule in catalogue() {
        let text = run(&["explain", &rule.code.to_lowercase()]).report();
        assert!(text.starts_with(&format!("{} {}\n", rule.code, rule.slug)), "{text}");
        for label in ["what", "why", "severity", "see", "qemu", "advice"] {
            assert!(
                text.lines().any(|line| line.split_whitespace().next() == Some(label)),
                "{label}: {text}"
            );
        }
        texts.insert(text);
        let document = run(&["explain", "--format=json", rule.code]).json();
        assert_eq!(document["schema"], "qcow2-inspect/explain/1");
        for (key, value) in [("code", rule.code), ("slug", rule.slug), ("title", rule.title)] {
            assert_eq!(document[key], value);
        }
        for key in ["why", "advice"] {
            assert!(document[key].as_str().is_some_and(|text| !text.is_empty()), "{}: {key}", rule.code);
        }
    }
    assert_eq!(texts.len(), catalogue().count());
}

#[test]
fn a_rule_that_there_is_not_is_refused() {
    for code in ["X01", "L", "", "H48", "L01 "] {
        for format in ["text", "json", "jsonl"] {
            let ran = run(&["explain", "--format", format, code]);
            check_refusal(ran, code, "there is no such rule; `rules` lists them", format != "text");
        }
    }
    assert_eq!(run(&["explain"]).code, Some(1));
    for format in ["text", "json"] {
        let ran = run(&["explain", "--format", format, "\u{1b}[31mX"]);
        check_refusal(ran, r"\x1b[31mX", "there is no such rule; `rules` lists them", format != "text");
    }
}
