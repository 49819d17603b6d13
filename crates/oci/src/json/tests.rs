use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inner {
    name: String,
    soft: i64,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Outer {
    tty: bool,
    env: Option<Vec<String>>,
    labels: BTreeMap<String, String>,
    inner: Inner,
    size: [u32; 2],
    weight: u16,
    init: Option<bool>,
}

fn read(text: &str) -> Outer {
    from_slice(text.as_bytes()).unwrap()
}

fn error(text: &str) -> String {
    from_slice::<Outer>(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn keys_match_without_case_at_every_depth_but_map_keys_are_data() {
    let outer = read(r#"{"TTY":true,"iNNer":{"NAME":"x","ſoft":3},"labels":{"KEY":"a","key":"b"}}"#);
    assert!(outer.tty);
    assert_eq!(outer.inner, Inner { name: "x".into(), soft: 3 });
    assert_eq!(outer.labels.len(), 2);
}

#[test]
fn the_last_of_equal_keys_wins() {
    assert!(read(r#"{"tty":false,"TTY":false,"Tty":true}"#).tty);
    assert!(!read(r#"{"Tty":true,"tty":false}"#).tty);
}

#[test]
fn null_is_the_zero_of_everything() {
    let outer = read(
        r#"{"Tty":null,"Env":null,"Labels":null,"Inner":{"Name":null,"Soft":null},"Size":null,"Init":null}"#,
    );
    assert_eq!(outer, Outer::default());
    assert_eq!(read("null"), Outer::default());
    assert_eq!(read(r#"{"Env":[null,"a"]}"#).env, Some(vec![String::new(), "a".into()]));
}

#[test]
fn an_empty_list_is_not_null() {
    assert_eq!(read(r#"{"Env":[]}"#).env, Some(vec![]));
}

#[test]
fn arrays_are_padded_and_cut() {
    assert_eq!(read(r#"{"Size":[7]}"#).size, [7, 0]);
    assert_eq!(read(r#"{"Size":[7,8,9]}"#).size, [7, 8]);
}

#[test]
fn type_errors_carry_gos_text() {
    assert_eq!(
        error(r#"{"Tty":"yes"}"#),
        "json: cannot unmarshal string into Go struct field Outer.Tty of type bool"
    );
    assert_eq!(
        error(r#"{"inner":{"soft":1.5}}"#),
        "json: cannot unmarshal number 1.5 into Go struct field Inner.Inner.Soft of type int64"
    );
    assert_eq!(
        error(r#"{"Weight":70000}"#),
        "json: cannot unmarshal number 70000 into Go struct field Outer.Weight of type uint16"
    );
    assert_eq!(
        error(r#"{"Env":"a"}"#),
        "json: cannot unmarshal string into Go struct field Outer.Env of type []string"
    );
    assert_eq!(
        error(r#"{"Labels":{"a":1}}"#),
        "json: cannot unmarshal number into Go struct field Outer.Labels of type string"
    );
    assert_eq!(error("[]"), "json: cannot unmarshal array into Go value of type Outer");
}

#[test]
fn syntax_errors_carry_gos_text() {
    assert_eq!(error("{"), "unexpected EOF");
    assert_eq!(error("nul"), "unexpected EOF");
    assert_eq!(error(r#"{"a":1,}"#), "invalid character '}' looking for beginning of object key string");
    assert_eq!(error("hello"), "invalid character 'h' looking for beginning of value");
    assert_eq!(error(r#"{"a" 1}"#), "invalid character '1' after object key");
    assert_eq!(error(r#"{"a":1 "b":2}"#), "invalid character '\"' after object key:value pair");
    assert_eq!(error(r#"{} x"#), "unexpected content after JSON");
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    assert!(Node::parse("[".repeat(100_000).as_bytes()).is_err());
}

#[derive(Serialize)]
struct Out {
    text: &'static str,
    float: f64,
}

#[test]
fn output_has_gos_escapes() {
    let out = Out { text: "<a&b>\u{2028}\u{1}\u{2019}\n\"", float: 1.0 };
    let plain = String::from_utf8(to_vec(&out).unwrap()).unwrap();
    assert_eq!(plain, "{\"text\":\"<a&b>\\u2028\\u0001\u{2019}\\n\\\"\",\"float\":1}");
    let html = String::from_utf8(to_vec_html(&out).unwrap()).unwrap();
    assert!(html.contains(r"\u003ca\u0026b\u003e"), "{html}");
}

#[test]
fn output_has_gos_floats() {
    let text = |value: f64| String::from_utf8(to_vec(&value).unwrap()).unwrap();
    let cases = [
        (0.0, "0"),
        (1.5, "1.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (-2.5e-9, "-2.5e-9"),
    ];
    for (value, expect) in cases {
        assert_eq!(text(value), expect);
    }
}
