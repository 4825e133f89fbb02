/** A table of which only the rows in view are in the page. It stays a table for screen readers: rows have their index. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "./icons.tsx";
import { Menu } from "./menu.tsx";
import { useWindow } from "./windowing.ts";

export interface Column<Row> {
  id: string;
  title: string;
  /** In place of the title. */
  heading?: ComponentChildren;
  /** Shown where the page is wide enough: 1 always, 2 from tablets on, 3 on desktops. */
  width?: 1 | 2 | 3;
  align?: "right";
  isSortable?: boolean;
  /** Whether the first click on its title brings the highest to the top. */
  isHighFirst?: boolean;
  cell: (row: Row) => ComponentChildren;
}

/** The heading of rows that belong together. */
export interface Group {
  group: string;
  heading: ComponentChildren;
}

export interface TableProps<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly (Row | Group)[];
  /** Rows of the whole list, when only a part of it was read. */
  total?: number | undefined;
  keyOf: (row: Row) => string;
  rowHeight?: number;
  sort?: { by: string; descending: boolean } | undefined;
  onSort?: (by: string, isHighFirst: boolean) => void;
  /** The rows that are in view. */
  onVisible?: (rows: readonly Row[]) => void;
  classOf?: (row: Row) => string;
}

function isGroup<Row>(row: Row | Group): row is Group {
  return typeof row === "object" && row !== null && "group" in row && "heading" in row;
}

export function Table<Row>({
  label,
  columns,
  rows,
  total = rows.length,
  keyOf,
  rowHeight = 40,
  sort,
  onSort,
  onVisible,
  classOf,
}: TableProps<Row>) {
  const body = useRef<HTMLTableSectionElement>(null);
  const { from, to } = useWindow(body, rows.length, rowHeight);
  const visible = rows.slice(from, to);
  const seen = useRef("");
  useLayoutEffect(() => {
    if (onVisible === undefined) return;
    const shown = visible.filter((row): row is Row => !isGroup(row));
    const name = shown.map(keyOf).join();
    if (seen.current === name) return;
    seen.current = name;
    onVisible(shown);
  });
  return (
    <div class="table-frame">
      <table class="table" aria-label={label} aria-rowcount={Math.max(total, rows.length) + 1}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.id} scope="col" class={cellClass(column)} aria-sort={sortOf(column, sort)}>
                {column.isSortable === true ? (
                  <button type="button" class="sort" onClick={() => onSort?.(column.id, column.isHighFirst === true)}>
                    {column.title}
                    <span class="sort-mark" aria-hidden="true">
                      {sort?.by === column.id ? (sort.descending ? "↓" : "↑") : ""}
                    </span>
                  </button>
                ) : (
                  (column.heading ?? column.title)
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody ref={body} style={{ "--row-height": `${rowHeight}px` }}>
          {from > 0 && <Space rows={from} height={rowHeight} columns={columns.length} />}
          {visible.map((row, index) =>
            isGroup(row) ? (
              <tr key={`group ${row.group}`} class="group" aria-rowindex={from + index + 2}>
                <th colSpan={columns.length} scope="rowgroup">
                  {row.heading}
                </th>
              </tr>
            ) : (
              <tr key={keyOf(row)} class={classOf?.(row)} aria-rowindex={from + index + 2}>
                {columns.map((column) => (
                  <td key={column.id} class={cellClass(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ),
          )}
          {to < rows.length && <Space rows={rows.length - to} height={rowHeight} columns={columns.length} />}
        </tbody>
      </table>
    </div>
  );
}

/** The room of rows that are out of view. */
function Space({ rows, height, columns }: { rows: number; height: number; columns: number }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row without content takes no focus
    <tr class="space" aria-hidden="true">
      <td colSpan={columns} style={{ height: `${rows * height}px` }} />
    </tr>
  );
}

function cellClass<Row>({ id, width = 1, align }: Column<Row>): string {
  return `cell-${id} from-${width}${align === "right" ? " right" : ""}`;
}

function sortOf<Row>(
  column: Column<Row>,
  sort: TableProps<Row>["sort"],
): "ascending" | "descending" | "none" | undefined {
  if (column.isSortable !== true) return undefined;
  if (sort?.by !== column.id) return "none";
  return sort.descending ? "descending" : "ascending";
}

/** A menu that shows and hides columns. */
export function ColumnMenu({
  columns,
  hidden,
  onChange,
}: {
  columns: readonly { id: string; title: string }[];
  hidden: ReadonlySet<string>;
  onChange: (hidden: string[]) => void;
}) {
  return (
    <Menu
      label="Columns"
      summary={
        <>
          <Icon name="columns" size={16} /> <span class="wide-only">Columns</span>
        </>
      }
    >
      {columns.map(({ id, title }) => (
        <label key={id}>
          <input
            type="checkbox"
            checked={!hidden.has(id)}
            onChange={({ currentTarget }) => {
              const next = new Set(hidden);
              if (currentTarget.checked) next.delete(id);
              else next.add(id);
              onChange([...next]);
            }}
          />
          {title}
        </label>
      ))}
    </Menu>
  );
}
