/** What modules of the state read of the browser's page when they begin. */

import { vi } from "vitest";

vi.stubGlobal("document", { baseURI: "http://host/", visibilityState: "visible", addEventListener() {} });
vi.stubGlobal("window", { addEventListener() {} });
vi.stubGlobal("location", { href: "http://host/", hash: "", search: "" });
