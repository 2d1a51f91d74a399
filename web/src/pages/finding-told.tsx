import type { Announcement, Finding, HttpFinding, NtlmFinding } from "@/api/types";
import { layers } from "@/lib/finding";
import { Facts } from "@/ui/page";
import { Fingerprint, mono, Part, told, wide } from "./finding-part";

/** What a web server answered. */
export function Http({ http }: { http: HttpFinding }) {
  return (
    <Part title={`HTTP: status ${http.status}`}>
      <Facts
        className={wide}
        items={told([
          ["Page title", http.title],
          ["Server header", mono(http.server)],
          ["Sends on to", mono(http.location)],
          ["Redirects followed", mono(http.redirects?.join(" → "))],
          ["Asks for a password to", http.realm],
          [
            "Favicon",
            http.favicon_mmh3 != null && <Fingerprint kind="favicon" value={String(http.favicon_mmh3)} />,
          ],
        ])}
      />
    </Part>
  );
}

/** What a machine tells whoever starts to sign in: Windows, or what speaks its protocols. */
export function Ntlm({ ntlm }: { ntlm: NtlmFinding }) {
  return (
    <Part title="Sign-in (NTLM)">
      <Facts className={wide} items={ntlmFacts(ntlm)} />
    </Part>
  );
}

export function ntlmFacts(ntlm: NtlmFinding) {
  return told([
    ["Version of Windows it names", mono(ntlm.build)],
    ["Machine (NetBIOS)", ntlm.netbios_name],
    ["Domain (NetBIOS)", ntlm.netbios_domain],
    ["Machine (DNS)", ntlm.dns_name],
    ["Domain (DNS)", ntlm.dns_domain],
    ["Forest", ntlm.forest],
  ]);
}

/** What a device says of itself. */
export function Announced({ device }: { device: Announcement }) {
  return (
    <Part title="Announces itself">
      <Facts className={wide} items={announcedFacts(device)} />
    </Part>
  );
}

export function announcedFacts(device: Announcement) {
  return told([
    ["Name", device.name],
    ["Made by", device.vendor],
    ["Model", device.model],
    ["Firmware", mono(device.version)],
    ["Serial number", mono(device.serial)],
    ["Description", device.description],
    ["Location", device.location],
    ["Hardware address", mono(device.mac)],
    ["SNMP object", mono(device.object_id)],
    ["Services", device.services?.join(", ")],
  ]);
}

/** Who answers before whom, outermost first, where there is more than one. */
export function Layers({ finding }: { finding: Finding }) {
  const found = layers(finding);
  if (found.length < 2) return null;
  return (
    <Part title="Layers">
      <ol>
        {found.map(({ role, name }, index) => (
          <li key={index} className="foreign">
            <span className="text-ink-3">{role}</span> <span className="figures">{name}</span>
          </li>
        ))}
      </ol>
    </Part>
  );
}

/** What else the service told of itself, where it told something. */
export function Others({ finding }: { finding: Finding }) {
  const items = told([
    ["Operating system", finding.os],
    ["Device", finding.device],
    ["Package revision", mono(finding.revision)],
    ["Name of itself", finding.hostname],
    ["More", finding.info],
    ["CPE", mono(finding.cpe?.join(" "))],
  ]);
  if (items.length === 0) return null;
  return (
    <Part title="Also told">
      <Facts className={wide} items={items} />
    </Part>
  );
}
