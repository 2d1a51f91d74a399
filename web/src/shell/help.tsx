import { Dialog } from "@/ui/dialog";
import { Keys } from "@/ui/keys";
import { places } from "./nav";

const groups: { title: string; keys: [string, string][] }[] = [
  {
    title: "Everywhere",
    keys: [
      ["mod+k", "Search, or go to a page, network or host"],
      ["/", "Into the filter of this page"],
      ["?", "This list"],
      ["Escape", "Close what is open"],
    ],
  },
  {
    title: "Alerts",
    keys: [
      ["j", "Next alert"],
      ["k", "Alert before"],
      ["x", "Select"],
      ["a", "Acknowledge, or take it back"],
      ["e", "Expected: write the rule for me"],
      ["m", "Assign to me"],
      ["s", "Snooze for a day"],
      ["Enter", "Open or close the details"],
    ],
  },
];

/** All keyboard shortcuts. */
export function Help({ onClose }: { onClose: () => void }) {
  const go: [string, string][] = places.flatMap((group) =>
    group.items.flatMap((item): [string, string][] => (item.keys ? [[item.keys, item.label]] : [])),
  );
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose} wide>
      <div className="grid gap-x-10 gap-y-5 sm:grid-cols-2">
        <Group title="Go to" keys={go} />
        <div className="flex flex-col gap-5">
          {groups.map((group) => (
            <Group key={group.title} title={group.title} keys={group.keys} />
          ))}
        </div>
      </div>
    </Dialog>
  );
}

function Group({ title, keys }: { title: string; keys: readonly [string, string][] }) {
  return (
    <section>
      <h3 className="mb-1.5 font-semibold">{title}</h3>
      <dl className="flex flex-col gap-1">
        {keys.map(([shortcut, meaning]) => (
          <div key={shortcut} className="flex justify-between gap-4 border-b border-line/70 pb-1">
            <dt className="order-2 shrink-0">
              <Keys keys={shortcut} />
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
