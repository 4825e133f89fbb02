/** What an administrator sets of one node. */

import type { Node } from "@systole/client";
import { changeNode, removeNode } from "../../api/control.ts";
import { parseLabels } from "../../state/labels.ts";
import { report } from "../../state/notices.ts";
import { link, navigate } from "../../state/route.ts";
import { canAdminister } from "../../state/session.ts";
import { ask } from "../../ui/dialog.tsx";
import { Icon } from "../../ui/icons.tsx";
import { Menu } from "../../ui/menu.tsx";
import { HoursField, LabelField } from "../fleet/bulk.tsx";

export function NodeActions({ node, onChange }: { node: Node; onChange: () => void }) {
  const logs = (
    <a class="button" href={link(["logs"], { node: node.id })}>
      Logs
    </a>
  );
  if (!canAdminister.value) return <div class="head-actions">{logs}</div>;
  const done = (text: string) => () => {
    onChange();
    report(text);
  };
  const rename = () => {
    let name = node.name;
    ask({
      title: `Rename ${node.name}`,
      text: (
        <label>
          Name; empty for the agent's own
          <input
            type="text"
            maxLength={64}
            defaultValue={node.name}
            onInput={({ currentTarget }) => (name = currentTarget.value)}
          />
        </label>
      ),
      action: "Rename",
      act: () => changeNode(node.id, { name: name.trim() === "" ? null : name.trim() }),
      onDone: done("The node was renamed"),
    });
  };
  const label = () => {
    let text = "";
    ask({
      title: `Labels of ${node.name}`,
      text: <LabelField onChange={(value) => (text = value)} />,
      action: "Set",
      act: () => changeNode(node.id, { labels: parseLabels(text) }),
      onDone: done("The labels were set"),
    });
  };
  const maintain = () => {
    if (node.maintenance != null) {
      ask({
        title: "End the maintenance?",
        text: "Rollouts include the node again.",
        action: "End",
        act: () => changeNode(node.id, { maintenance: null }),
        onDone: done("The maintenance has ended"),
      });
      return;
    }
    let hours = 2;
    let note = "";
    ask({
      title: `Maintenance of ${node.name}`,
      text: (
        <>
          <HoursField onChange={(value) => (hours = value)} />
          <label>
            Note
            <input type="text" onInput={({ currentTarget }) => (note = currentTarget.value)} />
          </label>
        </>
      ),
      action: "Begin",
      act: () =>
        changeNode(node.id, { maintenance: { until: Date.now() + hours * 3_600_000, ...(note !== "" && { note }) } }),
      onDone: done("The maintenance has begun"),
    });
  };
  const remove = () =>
    ask({
      title: `Remove ${node.name}?`,
      text: "The node and all its data are removed, and its token is revoked. An agent that still has an enrolment token comes back as a new node.",
      action: "Remove",
      isDangerous: true,
      act: () => removeNode(node.id),
      onDone: () => {
        report(`${node.name} was removed`);
        navigate([]);
      },
    });
  return (
    <div class="head-actions">
      {logs}
      <button type="button" onClick={maintain}>
        {node.maintenance != null ? "End maintenance" : "Maintenance"}
      </button>
      <Menu label="More actions" summary={<Icon name="more" size={16} />} isRight closesOnClick>
        <button type="button" class="quiet" onClick={rename}>
          Rename
        </button>
        <button type="button" class="quiet" onClick={label}>
          Labels
        </button>
        <button type="button" class="quiet danger" onClick={remove}>
          Remove
        </button>
      </Menu>
    </div>
  );
}
