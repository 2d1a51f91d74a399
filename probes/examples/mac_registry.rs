//! Makes the table of who made a network interface: `mac_registry INDEX.JSON OUT.BIN`.
//!
//! INDEX.JSON maps prefixes of six, seven or nine hexadecimal digits to the organisation, whose first line is its name,
//! as in the npm package `oui-data`.

use std::{collections::BTreeMap, env, error::Error, fs};

use portreeve_probes::mac::Registry;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [index, out] = arguments.as_slice() else { return Err("give INDEX.JSON and OUT.BIN".into()) };
    let assignments: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(index)?)?;
    let named =
        assignments.iter().map(|(prefix, owner)| (prefix.as_str(), owner.lines().next().unwrap_or_default()));
    let registry = Registry::from_assignments(named)?;
    let packed = registry.pack()?;
    fs::write(out, &packed)?;
    println!("{:?} prefixes of 24, 28 and 36 bits, {} bytes", registry.counts(), packed.len());
    Ok(())
}
