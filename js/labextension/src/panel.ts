/** The explorer of one path: a kernel of its own, and what it shows. */

import { SessionContext, SessionContextDialogs } from "@jupyterlab/apputils";
import { OutputArea, OutputAreaModel, SimplifiedOutputArea } from "@jupyterlab/outputarea";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { ServiceManager } from "@jupyterlab/services";
import { Signal } from "@lumino/signaling";
import { Panel, Widget } from "@lumino/widgets";

let opened = 0;

/** Python that explores a path, which is data to it: a string of JSON is one of Python, too. */
export function codeFor(path: string): string {
  return `import weibnb as wb\nwb.explore(${JSON.stringify(path)})`;
}

/** The folder of a path, and its last word. */
export function split(path: string): [string, string] {
  const at = path.lastIndexOf("/");
  return [path.slice(0, Math.max(at, 0)), path.slice(at + 1)];
}

export class ExplorerPanel extends Panel {
  private readonly session: SessionContext;
  private readonly area: OutputArea;
  private readonly waiting = new Widget();

  /**
   * @param path what is explored, as the kernel finds it from the folder that it starts in
   * @param folder where it starts, as the server names it
   */
  constructor(
    services: ServiceManager.IManager,
    rendermime: IRenderMimeRegistry,
    private readonly path: string,
    folder: string,
  ) {
    super();
    this.addClass("weibnb-panel");
    const name = `weibnb-${++opened}-${Date.now()}`;
    this.session = new SessionContext({
      sessionManager: services.sessions,
      specsManager: services.kernelspecs,
      kernelManager: services.kernels,
      name: `explorer of ${split(path)[1] || path}`,
      path: folder ? `${folder}/${name}` : name,
      type: "explorer",
      kernelPreference: { language: "python", autoStartDefault: true },
    });
    this.area = new SimplifiedOutputArea({
      model: new OutputAreaModel({ trusted: true }),
      rendermime: rendermime.clone(),
    });
    this.waiting.addClass("weibnb-waiting");
    this.waiting.node.textContent = "Starting Python …";
    this.waiting.node.setAttribute("role", "status");
    this.addWidget(this.waiting);
    this.addWidget(this.area);
    void this.start().catch((error: unknown) => {
      this.waiting.node.textContent = error instanceof Error ? error.message : String(error);
    });
  }

  dispose(): void {
    if (this.isDisposed) return;
    super.dispose();
    const { session } = this; // its widgets take leave of the kernel before that ends
    void session.shutdown().finally(() => session.dispose());
  }

  private async start(): Promise<void> {
    if (await this.session.initialize()) {
      await new SessionContextDialogs().selectKernel(this.session);
    }
    await this.session.ready;
    const { registerWidgetManager } = await import("@jupyter-widgets/jupyterlab-manager");
    const { session: sessionContext, area } = this;
    const model = { getMetadata: () => undefined }; // nothing is kept of widgets
    const saveState = new Signal<this, unknown>(this);
    registerWidgetManager({ sessionContext, saveState, model }, area.rendermime, []);
    const done = SimplifiedOutputArea.execute(codeFor(this.path), area, sessionContext);
    area.model.changed.connect(() => this.waiting.hide());
    await done;
    this.waiting.hide();
  }
}
