//! For those who write database entries: `fmt`, `fill` (expectations from what comes out; read the
//! difference), `check`, `stats` over `probes/db`, and `identify ADDRESS:PORT[/udp] …` with it.

use std::{env, error::Error, fs, net::SocketAddr, path::Path, sync::Arc};

use portreeve_model::{Endpoint, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("db");
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = arguments.split_first().ok_or("give fmt, fill, check, stats or identify")?;
    match command.as_str() {
        "fmt" | "fill" => rewrite(&folder, command == "fill")?,
        "check" => {
            for finding in Database::load_dir(&folder)?.check() {
                println!("{finding}");
            }
        }
        "stats" => println!("{:?}", Database::load_dir(&folder)?.stats()),
        "identify" => {
            let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
            let identifier = Identifier::new(Arc::new(Database::load_dir(&folder)?), config);
            for target in rest {
                let (address, transport) = match target.strip_suffix("/udp") {
                    Some(address) => (address, Transport::Udp),
                    None => (target.as_str(), Transport::Tcp),
                };
                let address: SocketAddr = address.parse()?;
                let endpoint = Endpoint { address: address.ip(), port: address.port(), transport };
                let service = identifier.identify(endpoint, Hints::default()).await;
                println!("{}", serde_json::to_string_pretty(&service)?);
            }
        }
        other => {
            return Err(format!("unknown command {other:?}; use fmt, fill, check, stats or identify").into());
        }
    }
    Ok(())
}

fn rewrite(folder: &Path, fill: bool) -> Result<(), Box<dyn Error>> {
    let database = Database::load_dir(folder)?;
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let new =
            if fill { database.fill(&name).ok_or("no such file")? } else { Database::fmt(&name, &text)? };
        if new != text {
            println!("{name}");
            fs::write(&path, new)?;
        }
    }
    Ok(())
}
