import { useQuery } from "@tanstack/react-query";
import { portQuery } from "@/api/queries";
import type { Finding, Weakness } from "@/api/types";
import { evidenceBySource, legible, verdictText } from "@/lib/finding";
import { SeverityMark } from "@/ui/marks";
import { Loaded } from "@/ui/states";
import { Time } from "@/ui/time";
import { Part } from "./finding-part";
import { Ssh } from "./finding-ssh";
import { Tls } from "./finding-tls";
import { Announced, Http, Layers, Ntlm, Others } from "./finding-told";

/** All that is known of the service at a port, and why it is believed. */
export function FindingOf({ portId }: { portId: number }) {
  const port = useQuery(portQuery(portId));
  return (
    <Loaded query={port} what="What is known of it" rows={3}>
      {({ service: finding, weaknesses, also_on, intervals }) => {
        const words = legible(finding?.banner);
        if (!finding) {
          return <p className="text-ink-2">Only that it is open: nobody has talked to it yet.</p>;
        }
        return (
          <div className="flex min-w-0 flex-col gap-4">
            {weaknesses.length > 0 && <Weaknesses found={weaknesses} />}
            <Verdict finding={finding} />
            {words && (
              <Part title="It says">
                <div
                  role="group"
                  aria-label="The first words of the service"
                  // Long ones scroll, by keyboard too.
                  tabIndex={0}
                  className="figures foreign max-h-24 overflow-y-auto whitespace-pre-wrap text-ink-2"
                >
                  {words}
                </div>
              </Part>
            )}
            {finding.tls && <Tls tls={finding.tls} places={also_on} />}
            {finding.ssh && <Ssh ssh={finding.ssh} places={also_on} />}
            {finding.http && <Http http={finding.http} />}
            {finding.ntlm && <Ntlm ntlm={finding.ntlm} />}
            {finding.announced && <Announced device={finding.announced} />}
            <Layers finding={finding} />
            <Others finding={finding} />
            <Evidence finding={finding} />
            {intervals.length > 1 && (
              <Part title="Open before">
                <ul>
                  {intervals
                    .filter((stretch) => stretch.closed_at != null)
                    .map((stretch) => (
                      <li key={stretch.id}>
                        <Time at={stretch.first_seen_at} exact /> to <Time at={stretch.closed_at} exact />
                      </li>
                    ))}
                </ul>
              </Part>
            )}
          </div>
        );
      }}
    </Loaded>
  );
}

/** What is wrong with the service, worst first. */
function Weaknesses({ found }: { found: readonly Weakness[] }) {
  return (
    <Part title="Findings">
      <ul aria-label="Findings">
        {found.map((each) => (
          <li key={each.kind} className="flex items-start gap-3">
            <span className="w-22 shrink-0 text-sm">
              <SeverityMark severity={each.severity} />
            </span>
            <span className="min-w-0 foreign">{each.text}</span>
          </li>
        ))}
      </ul>
    </Part>
  );
}

/** How the conversation ended, where that itself tells something. */
function Verdict({ finding }: { finding: Finding }) {
  if (finding.verdict === "identified") return null;
  return (
    <Part title="Verdict">
      <p>{verdictText(finding.verdict)}</p>
    </Part>
  );
}

function Evidence({ finding }: { finding: Finding }) {
  const sources = evidenceBySource(finding.evidence ?? []);
  const others = finding.alternatives ?? [];
  return (
    <Part title={`Why it is believed: ${finding.confidence} of 100 sure`}>
      {sources.length === 0 ? (
        <p className="text-ink-2">No entry of the database explains its answers.</p>
      ) : (
        <ul>
          {sources.map(({ key, source, entry, fields }) => (
            <li key={key} className="foreign">
              {fields.join(", ")} <span className="text-ink-3">from</span>{" "}
              <span className="figures">{source}</span>
              {entry && (
                <>
                  {" "}
                  <span className="text-ink-3">by the entry</span> <span className="figures">{entry}</span>
                </>
              )}
            </li>
          ))}
        </ul>
      )}
      {others.length > 0 && (
        <p className="mt-1 text-ink-2 foreign">
          Could also be{" "}
          {others
            .map(
              (each) => `${each.product ? `${each.product} (${each.name})` : each.name}, ${each.confidence}`,
            )
            .join("; ")}
          .
        </p>
      )}
    </Part>
  );
}
