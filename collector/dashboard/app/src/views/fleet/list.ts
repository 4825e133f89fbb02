/** The list of nodes that the address asks for, flat or by the values of a label, kept new while it is in view. */

import type { FleetMap, FleetNode } from "@systole/client";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { onChange, onReread } from "../../state/fleet.ts";
import { nodes } from "../../state/nodes.ts";
import { environment } from "../../state/session.ts";
import { recordSample } from "../../state/sparks.ts";
import { PagedList } from "../../ui/paged_list.ts";
import { useQuery } from "../../ui/use_query.ts";
import { groupsOf, type NodeGroup, withChange } from "./model.ts";
import type { NodeFilter, NodeOrder } from "./query.ts";

const PAGE = 50;
/** As often as agents report. */
const REFRESH_MS = 5_000;
/** After a change, a fleet of up to {@link SMALL} nodes is sorted again at once. */
const SOON_MS = 300;
const SMALL = 500;
/** Groups that are open when a person comes; the worst come first. */
const OPEN_GROUPS = 5;

type Nodes = PagedList<FleetNode>;

export interface NodeLists {
  /** The list, when there are no groups. */
  flat: Nodes | undefined;
  /** The groups, worst first; undefined while they are not known. */
  groups: readonly NodeGroup[] | undefined;
  listOf: (group: NodeGroup) => Nodes | undefined;
  toggle: (group: NodeGroup) => void;
  /** Tells which rows are in view: they are read again, and the next page when the last row is among them. */
  setVisible: (rows: readonly FleetNode[]) => void;
  refresh: () => void;
}

export function useNodeLists(filter: NodeFilter, { sort, order }: NodeOrder, label: string): NodeLists {
  const [, setVersion] = useState(0);
  const key = JSON.stringify([filter, sort, order, label]);
  const inView = useRef<ReadonlySet<string>>(new Set());
  const lists = useRef(new Map<string, Nodes>());
  /** The last list with another filter is shown until the new one is known. */
  const before = useRef<Nodes | undefined>(undefined);
  const [toggled, setToggled] = useState<ReadonlyMap<string, boolean>>(new Map());

  const map = useQuery<FleetMap>(
    label === "" ? undefined : `groups ${key}`,
    (signal) => queries.fleetMap({ ...filter, environment: environment.value, group: label }, { signal }),
    REFRESH_MS * 3,
  );
  const groups = useMemo(() => (map.data === undefined ? undefined : groupsOf(map.data)), [map.data]);

  const open = (name: string, more: string[]): Nodes => {
    const known = lists.current.get(name);
    if (known !== undefined) return known;
    const list = new PagedList<FleetNode>(
      ({ id }) => id,
      async (cursor, signal) => {
        const labels = [...(filter.label ?? []), ...more];
        const page = await queries.fleetNodes(
          {
            ...filter,
            label: labels.length === 0 ? undefined : labels,
            environment: environment.value,
            sort,
            order,
            limit: PAGE,
            cursor,
          },
          { signal },
        );
        for (const node of page.items) recordSample(node);
        return page;
      },
      () => setVersion((version) => version + 1),
    );
    lists.current.set(name, list);
    return list;
  };

  const flat = useMemo(() => {
    before.current = lists.current.get("") ?? before.current;
    for (const list of lists.current.values()) list.close();
    lists.current.clear();
    return label === "" ? open("", []) : undefined;
  }, [key]);

  const refresh = () => {
    for (const list of lists.current.values()) {
      if (list === flat || list.rows.some(({ id }) => inView.current.has(id))) void list.refresh(inView.current);
    }
  };
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        refresh();
      }, SOON_MS);
    };
    const unlisten = [
      onChange((change) => {
        for (const list of lists.current.values()) list.patch((node) => withChange(node, change));
        if (nodes.peek().length <= SMALL) soon();
      }),
      onReread(soon),
    ];
    const interval = setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_MS);
    return () => {
      for (const stop of unlisten) stop();
      clearTimeout(timer);
      clearInterval(interval);
    };
  }, [key]);
  useEffect(
    () => () => {
      for (const list of lists.current.values()) list.close();
      lists.current.clear();
    },
    [],
  );

  const nameOf = ({ value }: NodeGroup) => (value === null ? "!" : `=${value}`);
  return {
    flat: flat !== undefined && !flat.isKnown && flat.error === undefined ? (before.current ?? flat) : flat,
    groups,
    listOf: (group) => {
      const index = groups?.indexOf(group) ?? 0;
      const isOpen = toggled.get(nameOf(group)) ?? index < OPEN_GROUPS;
      if (!isOpen) return undefined;
      return open(nameOf(group), [group.value === null ? `!${label}` : `${label}:${group.value}`]);
    },
    toggle: (group) => {
      const index = groups?.indexOf(group) ?? 0;
      const name = nameOf(group);
      setToggled((known) => new Map(known).set(name, !(known.get(name) ?? index < OPEN_GROUPS)));
    },
    setVisible: (rows) => {
      inView.current = new Set(rows.map(({ id }) => id));
      for (const list of lists.current.values()) {
        const last = list.rows.at(-1);
        if (last !== undefined && list.hasMore && inView.current.has(last.id)) void list.more();
      }
    },
    refresh,
  };
}
