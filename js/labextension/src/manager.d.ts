/** What is used of ipywidgets' own extension, which JupyterLab shares at run time. */
declare module "@jupyter-widgets/jupyterlab-manager" {
  import type { ISessionContext } from "@jupyterlab/apputils";
  import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
  import type { IDisposable } from "@lumino/disposable";
  import type { ISignal } from "@lumino/signaling";

  /** What is used of a notebook. */
  interface Context {
    sessionContext: ISessionContext;
    saveState: ISignal<unknown, unknown>;
    model: { getMetadata(name: string): unknown };
  }

  /** Let outputs of a session show its widgets. */
  export function registerWidgetManager(
    context: Context,
    rendermime: IRenderMimeRegistry,
    renderers: Iterable<never>,
  ): IDisposable;
}
