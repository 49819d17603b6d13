//! The log of `--log`: lines as runc's logger writes them, text or JSON.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use super::Failure;

/// Where errors are told besides standard error.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    path: Option<PathBuf>,
    json: bool,
}

impl Log {
    pub(super) fn new(path: Option<&str>, format: Option<&str>) -> Result<Self, Failure> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(other) => return Err(Failure::new(format!("invalid log-format: {other}"))),
        };
        // `/dev/stderr` would tell everything twice.
        let path = path.filter(|path| !path.is_empty() && *path != "/dev/stderr").map(PathBuf::from);
        Ok(Self { path, json })
    }

    /// Tells an error everywhere.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        let _ = writeln!(std::io::stderr(), "{message}");
    }

    /// Tells what the user should know and nothing depends on.
    pub(super) fn warning(&self, message: &str) {
        self.write("warning", message);
        let _ = writeln!(std::io::stderr(), "{message}");
    }

    fn write(&self, level: &str, message: &str) {
        let Some(path) = &self.path else { return };
        let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) else { return };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let line = if self.json {
            // The keys in runc's order.
            format!("{{\"level\":{level:?},\"msg\":{},\"time\":\"{time}\"}}\n", quote(message))
        } else {
            format!("time=\"{time}\" level={level} msg={}\n", quote(message))
        };
        let _ = file.write_all(line.as_bytes());
    }
}

fn quote(message: &str) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_runc() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        Log::new(path.to_str(), Some("json")).unwrap().write("error", "exec: \"x\"");
        Log::new(path.to_str(), None).unwrap().write("warning", "two words");
        let text = std::fs::read_to_string(&path).unwrap();
        let (json, plain) = text.split_once('\n').unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((value["level"].as_str(), value["msg"].as_str()), (Some("error"), Some("exec: \"x\"")));
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
        assert!(plain.contains("level=warning msg=\"two words\""));
        assert!(Log::new(None, Some("xml")).is_err());
    }
}
