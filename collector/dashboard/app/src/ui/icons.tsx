/** The few pictures of the page, drawn with one pen. */

const PATHS = {
  fleet: "M3 3h7v7H3zM14 3h7v7h-7zM3 14h7v7H3zM14 14h7v7h-7z",
  pipelines: "M3 6h5a4 4 0 0 1 4 4v4a4 4 0 0 0 4 4h5M3 6v0M17 14l4 4-4 4M3 18h5",
  logs: "M4 5h16M4 10h16M4 15h10M4 20h7",
  events: "M12 7v5l3 2M21 12a9 9 0 1 1-9-9 9 9 0 0 1 9 9Z",
  ledger: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
  rollouts: "M12 19V5M5 12l7-7 7 7",
  search: "M11 18a7 7 0 1 1 0-14 7 7 0 0 1 0 14ZM21 21l-5-5",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  out: "M15 4h4v16h-4M10 16l-4-4 4-4M6 12h10",
  close: "M6 6l12 12M18 6 6 18",
  chevron: "M9 6l6 6-6 6",
  down: "M6 9l6 6 6-6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l12 7-12 7z",
  columns: "M4 5h16v14H4zM10 5v14M15 5v14",
  more: "M5 12h0M12 12h0M19 12h0",
  bell: "M6 10a6 6 0 0 1 12 0c0 5 2 6 2 7H4c0-1 2-2 2-7M10 20.500h4",
  wrench: "M14.5 6.5a4 4 0 0 0-5.3 5.3L4 17l3 3 5.200-5.200a4 4 0 0 0 5.300-5.300l-2.500 2.500-2.500-.500-.500-2.500z",
  keyboard: "M3 7h18v10H3zM7 11h0M11 11h0M15 11h0M8 14h8",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
