/** A view whose code is fetched when it is first shown. */

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failure, Loading } from "../ui/empty.tsx";

export function lazy<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  let loaded: ComponentType<Props> | undefined;
  return function Lazy(props: Props) {
    const [, setReady] = useState(loaded !== undefined);
    const [hasFailed, setFailed] = useState(false);
    useEffect(() => {
      if (loaded !== undefined) return;
      load().then(
        (component) => {
          loaded = component;
          setReady(true);
        },
        () => setFailed(true),
      );
    }, []);
    // After an upgrade of the collector the files of the old page are gone.
    if (hasFailed)
      return <Failure error="The collector has another version of this page." retry={() => location.reload()} />;
    if (loaded === undefined) return <Loading />;
    const Component = loaded;
    return <Component {...props} />;
  };
}
