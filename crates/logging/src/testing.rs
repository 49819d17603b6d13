//! A container for the unit tests.

use crate::Container;

pub(crate) fn container(options: &[(&str, &str)]) -> Container {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Container {
        id: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        image_id: format!("sha256:{}", "ddee69c474f7acfd".repeat(4)),
        image_name: "httpd".to_owned(),
        entrypoint: "httpd".to_owned(),
        args: vec!["-X".to_owned()],
        created: "2024-02-29T00:00:00.5Z".to_owned(),
        env: vec!["B=2".to_owned(), "C.x=3".to_owned()],
        labels: [("a".to_owned(), "1".to_owned()), ("b.y".to_owned(), "4".to_owned())].into(),
        log_path: String::new(),
        options: options.iter().map(pair).collect(),
    }
}
