//! What Docker 26 answers to `docker import -c`, asked one by one.

use super::*;

/// The configuration after changes to an empty one, or the error.
fn check(changes: &[&str], expect: &str) {
    let mut config = RunConfig::default();
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    let got = match apply_changes(&mut config, &changes) {
        Ok(()) => serde_json::to_string(&config).unwrap(),
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expect, "{changes:?}");
}

#[test]
fn commands() {
    check(&["CMD ls -la"], r#"{"Cmd":["/bin/sh","-c","ls -la"]}"#);
    check(&[r#"CMD ["ls","-la"]"#], r#"{"Cmd":["ls","-la"]}"#);
    check(&[r#"cmd ["ls", ]"#], r#"{"Cmd":["/bin/sh","-c","[\"ls\", ]"]}"#);
    check(&["CMD"], r#"{"Cmd":["/bin/sh","-c"]}"#);
    check(&["CMD a \\\n b"], r#"{"Cmd":["/bin/sh","-c","a  b"]}"#);
    check(&["CMD ['a']"], r#"{"Cmd":["/bin/sh","-c","['a']"]}"#);
    check(&[r#"CMD ["a", 1]"#], "when using JSON array syntax, arrays must be comprised of strings only");
    check(&[r#"ENTRYPOINT ["a"]"#], r#"{"Entrypoint":["a"]}"#);
    check(&["CMD x", "ENTRYPOINT y"], r#"{"Cmd":["/bin/sh","-c","x"],"Entrypoint":["/bin/sh","-c","y"]}"#);
    check(&["ENTRYPOINT"], "{}");
    check(&["ENTRYPOINT []"], "{}");
}

#[test]
fn environment_and_labels() {
    check(&[r#"ENV a=b c="d e" f=g\ h"#], r#"{"Env":["a=b","c=d e","f=g h"]}"#);
    check(&["ENV a b c"], r#"{"Env":["a=b c"]}"#);
    check(&["ENV a"], "ENV must have two arguments");
    check(&["ENV a= b=c"], r#"{"Env":["a=","b=c"]}"#);
    check(&["ENV =x"], "ENV names can not be blank");
    check(&["ENV a=1", "ENV a=2"], r#"{"Env":["a=2"]}"#);
    check(
        &["ENV A=1", r"ENV B=$A/x C=${A:-y} D=${Z:-y} E=${A:+w} F=\$A G='$A'"],
        r#"{"Env":["A=1","B=1/x","C=1","D=y","E=w","F=$A","G=$A"]}"#,
    );
    check(&["LABEL a"], "LABEL must have two arguments");
    check(&[r#"LABEL a=b "c d"=e"#], r#"{"Labels":{"a":"b","c d":"e"}}"#);
}

#[test]
fn ports_users_and_paths() {
    check(
        &["EXPOSE 80 90/udp 100-102"],
        r#"{"ExposedPorts":{"100/tcp":{},"101/tcp":{},"102/tcp":{},"80/tcp":{},"90/udp":{}}}"#,
    );
    check(&["EXPOSE foo"], "Invalid containerPort: foo");
    check(&["EXPOSE 80/foo"], "Invalid proto: foo");
    check(&["EXPOSE"], "EXPOSE requires at least one argument");
    check(&["USER a b"], r#"{"User":"a b"}"#);
    check(&["USER"], "USER requires exactly one argument");
    check(&[r#"USER "a b""#], r#"{"User":"a b"}"#);
    check(&["VOLUME /a /b"], r#"{"Volumes":{"/a":{},"/b":{}}}"#);
    check(&[r#"VOLUME ["/a", "/b c"]"#], r#"{"Volumes":{"/a":{},"/b c":{}}}"#);
    check(&["VOLUME"], "VOLUME requires at least one argument");
    check(&[r#"VOLUME [""]"#], "VOLUME specified can not be an empty string");
    check(&["WORKDIR a", "WORKDIR b"], r#"{"WorkingDir":"/a/b"}"#);
    check(&["WORKDIR /x/../y"], r#"{"WorkingDir":"/y"}"#);
    check(&["WORKDIR"], "WORKDIR requires exactly one argument");
    check(&["STOPSIGNAL foo"], "invalid signal: foo");
    check(&["STOPSIGNAL SIGTERM"], r#"{"StopSignal":"SIGTERM"}"#);
    check(&["STOPSIGNAL 99"], r#"{"StopSignal":"99"}"#);
}

#[test]
fn health_checks() {
    check(&["HEALTHCHECK NONE"], r#"{"Healthcheck":{"Test":["NONE"]}}"#);
    check(
        &["HEALTHCHECK --interval=5s --retries=2 CMD ls -l"],
        r#"{"Healthcheck":{"Test":["CMD-SHELL","ls -l"],"Interval":5000000000,"Retries":2}}"#,
    );
    check(&[r#"HEALTHCHECK CMD ["a","b"]"#], r#"{"Healthcheck":{"Test":["CMD","a","b"]}}"#);
    check(&["HEALTHCHECK foo"], "Unknown type \"FOO\" in HEALTHCHECK (try CMD)");
    check(&["HEALTHCHECK --foo=1 CMD x"], "unknown flag: foo");
    check(&["HEALTHCHECK --interval=x CMD x"], "time: invalid duration \"x\"");
    check(&["HEALTHCHECK --interval=1us CMD x"], "Interval \"interval\" cannot be less than 1ms");
    check(&["HEALTHCHECK CMD"], "Missing command after HEALTHCHECK CMD");
    check(&["HEALTHCHECK NONE x"], "HEALTHCHECK NONE takes no arguments");
    check(&["HEALTHCHECK"], "HEALTHCHECK requires at least one argument");
    check(&["HEALTHCHECK --retries=x CMD a"], "strconv.ParseInt: parsing \"x\": invalid syntax");
    check(&["HEALTHCHECK --retries=-1 CMD a"], "--retries cannot be negative (-1)");
    check(
        &["HEALTHCHECK --start-period=5s --start-interval=1s --timeout=3s CMD a"],
        r#"{"Healthcheck":{"Test":["CMD-SHELL","a"],"Timeout":3000000000,"StartPeriod":5000000000,"StartInterval":1000000000}}"#,
    );
}

#[test]
fn triggers_and_refusals() {
    check(&["ONBUILD RUN x"], r#"{"OnBuild":["RUN x"]}"#);
    check(&["ONBUILD ONBUILD RUN x"], "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    check(&["ONBUILD FROM x"], "FROM isn't allowed as an ONBUILD trigger");
    check(&["ONBUILD"], "ONBUILD requires at least one argument");
    check(&["RUN x"], "RUN is not a valid change command");
    check(&["Foo x"], "Foo is not a valid change command");
    check(&[""], "file with no instructions");
    check(&["# comment"], "file with no instructions");
    check(&["CMD a", "RUN x"], "RUN is not a valid change command");
}
