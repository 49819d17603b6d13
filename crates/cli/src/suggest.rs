//! What was perhaps meant: the nearest of the names that there are.

/// How many are offered.
const MOST: usize = 3;

/// A blank line, or the question whether one of the names was meant.
pub(crate) fn line(before: &str, typed: &str, names: impl Iterator<Item = String>) -> String {
    match nearest(typed, names).as_slice() {
        [] => String::new(),
        [only] => format!("\nDid you mean '{before} {only}'?\n"),
        several => {
            let several: Vec<String> = several.iter().map(|name| format!("'{before} {name}'")).collect();
            format!("\nDid you mean one of {}?\n", several.join(", "))
        }
    }
}

/// The names that are near, the nearest first.
pub(crate) fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    // One slip in a short word, two in a longer one.
    let allowed = if typed.chars().count() <= 4 { 1 } else { 2 };
    let mut near: Vec<(usize, String)> = names
        .map(|name| {
            let begins = typed.len() >= 2 && name != typed && name.starts_with(typed);
            (if begins { 1 } else { distance(typed, &name) }, name)
        })
        .filter(|(distance, _)| (1..=allowed).contains(distance))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, name)| name).take(MOST).collect()
}

/// How many slips lead from one word to the other: a letter too many, too few, another one, or two swapped.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let other = usize::from(left[i - 1] != right[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + other);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expect: &[&str]) {
        let names = ["run", "rm", "rmi", "images", "inspect", "restart", "ps"].map(str::to_owned);
        assert_eq!(nearest(typed, names.into_iter()), expect, "{typed}");
    }

    #[test]
    fn slips_are_forgiven() {
        check("rnu", &["run"]);
        check("imgaes", &["images"]);
        check("insepct", &["inspect"]);
        check("restrat", &["restart"]);
        check("frobnicate", &[]);
        check("run", &[]);
    }

    #[test]
    fn the_question_names_the_way() {
        let names = ["run".to_owned()];
        assert_eq!(line("berth", "rnu", names.into_iter()), "\nDid you mean 'berth run'?\n");
        assert_eq!(line("berth", "x", std::iter::empty()), "");
    }
}
