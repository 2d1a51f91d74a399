//! What must be known at launch is known: the rows of `launch.toml` against the database and the tests.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
};

use serde::Deserialize;
use toml::Value;

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

/// What stands for one row of the list of services that a scanner must know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    number: u16,
    name: String,
    /// Of which the database has entries with examples.
    #[serde(default)]
    services: Vec<String>,
    /// That come out of examples.
    #[serde(default)]
    products: Vec<String>,
    /// Files of this folder, for what is no entry's work.
    #[serde(default)]
    tests: Vec<String>,
    /// Why nothing can be known.
    unknowable: Option<String>,
}

/// Rows of the list.
const ROWS: usize = 126;

/// Services and products that come out of the database's examples.
fn known(folder: &Path) -> (HashSet<String>, HashSet<String>) {
    let (mut services, mut products) = (HashSet::new(), HashSet::new());
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    for file in fs::read_dir(folder).expect("the database") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let family: Value = toml::from_str(&fs::read_to_string(&path).expect("readable")).expect("TOML");
        for entry in family.get("match").and_then(Value::as_array).into_iter().flatten() {
            let examples = entry.get("example").and_then(Value::as_array);
            let set = entry.get("set");
            for example in examples.into_iter().flatten() {
                services.extend(set.and_then(|set| text(set, "name")).or_else(|| text(&family, "service")));
                products.extend(example.get("expect").and_then(|expect| text(expect, "product")));
            }
        }
    }
    (services, products)
}

#[test]
fn every_row_of_the_launch_list_has_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (services, products) = known(&root.join("db"));
    let table = fs::read_to_string(root.join("tests/launch.toml")).expect("the table");
    let rows = toml::from_str::<Table>(&table).expect("the table's form").row;
    assert_eq!(rows.iter().map(|row| row.number).collect::<BTreeSet<_>>().len(), ROWS);
    let mut wrong = Vec::new();
    for row in &rows {
        let mut missing: Vec<&str> = Vec::new();
        missing.extend(row.services.iter().filter(|name| !services.contains(*name)).map(String::as_str));
        missing.extend(row.products.iter().filter(|name| !products.contains(*name)).map(String::as_str));
        missing.extend(
            row.tests.iter().filter(|file| !root.join("tests").join(file).is_file()).map(String::as_str),
        );
        let is_empty = row.services.is_empty() && row.tests.is_empty();
        if !missing.is_empty() || is_empty == row.unknowable.is_none() {
            wrong.push(format!("{} {}: {missing:?}", row.number, row.name));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
