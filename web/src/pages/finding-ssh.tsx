import type { SamePlace, SshAlgorithm, SshFinding } from "@/api/types";
import { cx } from "@/lib/cx";
import { note, sshKeys } from "@/lib/finding";
import { Tag } from "@/ui/marks";
import { Facts } from "@/ui/page";
import { AlsoOn, Fingerprint, mono, Part, told, wide } from "./finding-part";

/** What an SSH server offers before anyone has signed in. */
export function Ssh({ ssh, places }: { ssh: SshFinding; places: readonly SamePlace[] }) {
  const groups: [string, readonly SshAlgorithm[]][] = [
    ["Ciphers", ssh.ciphers],
    ["Key exchanges", ssh.kex_algorithms],
    ["Authentication codes", ssh.mac_algorithms],
  ];
  return (
    <Part title="SSH">
      <Facts
        className={cx(wide, "mb-3")}
        items={told([
          ["Software", mono(ssh.ssh_version)],
          ["Protocol", mono(ssh.protocol_version)],
          ["Ways to sign in", <SignIn key="s" methods={ssh.auth_methods} />],
          ["HASSH", ssh.hassh && <Fingerprint kind="hassh" value={ssh.hassh} />],
        ])}
      />
      <HostKeys ssh={ssh} places={places} />
      <div className="mt-3 grid gap-x-6 gap-y-3 sm:grid-cols-2 xl:grid-cols-4">
        {groups.map(([name, algorithms]) => (
          <Algorithms key={name} name={name} algorithms={algorithms} />
        ))}
        <div className="min-w-0">
          <p className="text-sm font-semibold">Host key algorithms</p>
          <p className="figures break-all text-ink-2">{ssh.host_key_types.join(", ") || "not told"}</p>
        </div>
      </div>
    </Part>
  );
}

function SignIn({ methods }: { methods: readonly string[] | null | undefined }) {
  if (!methods) return <span className="text-ink-3">not told</span>;
  if (methods.length === 0) return <>none</>;
  return (
    <span className="flex flex-wrap gap-1">
      {methods.map((method) => (
        <Tag
          key={method}
          tone={method === "password" || method === "keyboard-interactive" ? "warn" : "plain"}
        >
          {method}
        </Tag>
      ))}
    </span>
  );
}

function HostKeys({ ssh, places }: { ssh: SshFinding; places: readonly SamePlace[] }) {
  const keys = sshKeys(ssh);
  if (keys.length === 0) return null;
  return (
    <div className="min-w-0">
      <p className="text-sm font-semibold">Host keys</p>
      <ul aria-label="Host keys">
        {keys.map((key) => (
          <li key={key.fingerprint} className="foreign">
            {key.is_weak && <Tag tone="bad">weak</Tag>}{" "}
            <span className="figures">
              {[key.kind, key.bits && `${key.bits} bits`].filter(Boolean).join(", ")}
            </span>{" "}
            <Fingerprint kind="ssh-key" value={key.fingerprint} />
            {key.notes && key.notes.length > 0 && (
              <p className="text-sm text-ink-2">{key.notes.map(note).join("; ")}</p>
            )}
            <AlsoOn places={places} fingerprint={`ssh-key:${key.fingerprint}`} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Algorithms({ name, algorithms }: { name: string; algorithms: readonly SshAlgorithm[] }) {
  const weak = algorithms.filter((each) => each.is_weak);
  const strong = algorithms.filter((each) => !each.is_weak);
  return (
    <div className="min-w-0">
      <p className="text-sm font-semibold">{name}</p>
      {algorithms.length === 0 && <p className="text-ink-3">not told</p>}
      <ul>
        {weak.map((each) => (
          <li key={each.name}>
            <Tag tone="bad">weak</Tag> <span className="figures break-all">{each.name}</span>
            {each.notes && each.notes.length > 0 && (
              <p className="text-sm text-ink-2 foreign">{each.notes.map(note).join("; ")}</p>
            )}
          </li>
        ))}
        {strong.map((each) => (
          <li key={each.name} className="figures break-all text-ink-2">
            {each.name}
          </li>
        ))}
      </ul>
    </div>
  );
}
