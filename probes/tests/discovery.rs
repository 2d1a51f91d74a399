//! What devices announce over UDP: Debian's SNMP agent, and conversations laid out by the specifications.

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use portreeve_model::{Endpoint, SafeText, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use support::process::start;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

async fn ask(address: Ipv4Addr, port: u16, change: impl FnOnce(&mut IdentifyConfig)) -> Service {
    let mut config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    change(&mut config);
    let endpoint = Endpoint { address: address.into(), port, transport: Transport::Udp };
    Identifier::new(Arc::clone(Database::builtin()), config).identify(endpoint, Hints::default()).await
}

fn text(value: Option<&SafeText>) -> &str {
    value.map_or("", SafeText::as_str)
}

/// Answers every datagram that contains `asked`.
async fn answer(address: Ipv4Addr, port: u16, asked: &'static [u8], reply: Vec<u8>) -> JoinHandle<()> {
    let socket = UdpSocket::bind((address, port)).await.expect("an address of its own");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((length, source)) = socket.recv_from(&mut buffer).await {
            if buffer[..length].windows(asked.len()).any(|window| window == asked) {
                let _ = socket.send_to(&reply, source).await;
            }
        }
    })
}

/// Serves one document by HTTP; the port.
async fn document(address: Ipv4Addr, body: &'static str) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((address, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let head = format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await;
        }
    });
    (port, task)
}

#[tokio::test]
async fn snmpd_tells_its_system_group_to_those_who_know_the_community() {
    let Some(server) = start("snmpd", "snmpd", |folder, port| {
        let config = folder.join("snmpd.conf");
        let text = "rocommunity lab 127.0.0.1\nsysDescr Lab agent\nsysName lab-box\nsysLocation shelf\n";
        std::fs::write(&config, text).expect("a configuration");
        let listen = format!("udp:127.0.0.1:{port},tcp:127.0.0.1:{port}");
        ["-f", "-Lo", "-C", "-c", &config.display().to_string(), &listen].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    let service = ask(Ipv4Addr::LOCALHOST, server.port, |_| {}).await;
    assert_eq!(
        (text(service.name.as_ref()), text(service.product.as_ref())),
        ("snmp", "net-snmp"),
        "{service:?}"
    );
    assert_eq!(service.announced, None, "nothing is asked with a guessed community");
    let known =
        |config: &mut IdentifyConfig| config.snmp_communities = vec!["wrong".to_owned(), "lab".to_owned()];
    let device = ask(Ipv4Addr::LOCALHOST, server.port, known).await.announced.expect("facts");
    assert_eq!(text(device.name.as_ref()), "lab-box", "{device:?}");
    assert_eq!(text(device.description.as_ref()), "Lab agent");
    assert_eq!(text(device.location.as_ref()), "shelf");
    assert_eq!(text(device.object_id.as_ref()), "1.3.6.1.4.1.8072.3.2.10");
}

#[tokio::test]
async fn a_description_on_the_same_host_is_read_and_one_elsewhere_is_not() {
    let address = Ipv4Addr::new(127, 78, 0, 1);
    let body = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
        <friendlyName>Den</friendlyName><manufacturer>Acme</manufacturer><modelName>X1</modelName>\
        <serialNumber>S9</serialNumber></device></root>";
    let (port, web) = document(address, body).await;
    let reply = |place: SocketAddr| {
        format!(
            "HTTP/1.1 200 OK\r\nLOCATION: http://{place}/root.xml\r\nSERVER: Linux UPnP/1.0 Acme/1\r\n\
             ST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n"
        )
        .into_bytes()
    };
    let udp = answer(address, 1900, b"M-SEARCH", reply(SocketAddr::from((address, port)))).await;
    let service = ask(address, 1900, |_| {}).await;
    let device = service.announced.unwrap_or_else(|| panic!("no facts"));
    assert_eq!((text(device.name.as_ref()), text(device.vendor.as_ref())), ("Den", "Acme"));
    assert_eq!((text(device.model.as_ref()), text(device.serial.as_ref())), ("X1", "S9"));
    udp.abort();
    let elsewhere = Ipv4Addr::new(127, 78, 0, 2);
    let udp = answer(elsewhere, 1900, b"M-SEARCH", reply(SocketAddr::from((address, port)))).await;
    assert_eq!(ask(elsewhere, 1900, |_| {}).await.announced, None);
    udp.abort();
    web.abort();
}

#[tokio::test]
async fn metadata_of_a_web_service_device_is_read() {
    let address = Ipv4Addr::new(127, 78, 0, 3);
    let body = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
        xmlns:p=\"http://schemas.xmlsoap.org/ws/2006/02/devprof\"><s:Body><p:ThisDevice>\
        <p:FriendlyName>Office printer</p:FriendlyName><p:FirmwareVersion>2.1</p:FirmwareVersion></p:ThisDevice>\
        <p:ThisModel><p:Manufacturer>Acme</p:Manufacturer><p:ModelName>P 500</p:ModelName></p:ThisModel></s:Body></s:Envelope>";
    let (port, web) = document(address, body).await;
    let matches = format!(
        "<?xml version=\"1.0\"?><s:Envelope><s:Header><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches\
         </a:Action></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:7</a:Address>\
         </a:EndpointReference><d:Types>wsdp:Device wprt:PrintDeviceType</d:Types><d:XAddrs>http://{address}:{port}/wsd</d:XAddrs>\
         </d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    );
    let udp = answer(address, 3702, b"discovery/Probe", matches.into_bytes()).await;
    let service = ask(address, 3702, |_| {}).await;
    let device = service.announced.clone().unwrap_or_else(|| panic!("{service:?}"));
    assert_eq!((text(device.name.as_ref()), text(device.model.as_ref())), ("Office printer", "P 500"));
    assert_eq!((text(device.vendor.as_ref()), text(device.version.as_ref())), ("Acme", "2.1"));
    udp.abort();
    web.abort();
}
