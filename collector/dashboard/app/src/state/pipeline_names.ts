/** Ids and names of pipelines, for lists of names and for the search of everything. They are read when they are needed first. */

import { signal } from "@preact/signals";
import { queries } from "../api/http.ts";
import { environment } from "./session.ts";

/** More than a person chooses from. */
const MAX_NAMES = 1_000;
const FRESH_MS = 30_000;

export interface PipelineName {
  id: string;
  name: string;
}

export const pipelineNames = signal<readonly PipelineName[]>([]);
let readAt = 0;

/** Reads them, unless that was done a moment ago. */
export function readPipelineNames(): void {
  if (Date.now() - readAt < FRESH_MS) return;
  readAt = Date.now();
  queries.fleetPipelines({ environment: environment.value, limit: MAX_NAMES }).then(
    ({ items }) => {
      pipelineNames.value = items.map(({ id, name }) => ({ id, name }));
    },
    () => {
      readAt = 0;
    },
  );
}

/** Forgets what another environment has. */
export function forgetPipelineNames(): void {
  readAt = 0;
  pipelineNames.value = [];
}
