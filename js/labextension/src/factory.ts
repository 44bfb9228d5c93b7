/** Documents whose content stays on the server: a checkpoint may have many gigabytes. */

import { ABCWidgetFactory, DocumentModel, DocumentWidget } from "@jupyterlab/docregistry";
import type { DocumentRegistry } from "@jupyterlab/docregistry";
import type { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import type { ISharedFile } from "@jupyter/ydoc";
import type { Contents, ServiceManager } from "@jupyterlab/services";

import { ExplorerPanel, split } from "./panel";

/** A document that is never read here, and never written. */
class UnreadModel extends DocumentModel {
  constructor(options?: DocumentRegistry.IModelOptions<ISharedFile>) {
    super(options);
    this.readOnly = true;
  }

  /** Else JupyterLab would keep a copy of the file beside it, to go back to. */
  get collaborative(): boolean {
    return true;
  }

  toString(): string {
    throw new Error("This file is only looked at: nothing is saved.");
  }

  toJSON(): never {
    throw new Error("This file is only looked at: nothing is saved.");
  }
}

export class UnreadModelFactory implements DocumentRegistry.IModelFactory<UnreadModel> {
  readonly name = "weibnb-unread";
  readonly contentType: Contents.ContentType = "file";
  readonly fileFormat = null; // so that the content is not asked for
  readonly collaborative = false;
  isDisposed = false;

  dispose(): void {
    this.isDisposed = true;
  }

  createNew(options?: DocumentRegistry.IModelOptions<ISharedFile>): UnreadModel {
    return new UnreadModel(options);
  }

  preferredLanguage(): string {
    return "";
  }
}

type Explorer = DocumentWidget<ExplorerPanel, UnreadModel>;

export class ExplorerFactory extends ABCWidgetFactory<Explorer, UnreadModel> {
  constructor(
    options: DocumentRegistry.IWidgetFactoryOptions<Explorer>,
    private readonly services: ServiceManager.IManager,
    private readonly rendermime: IRenderMimeRegistry,
  ) {
    super(options);
  }

  protected createNewWidget(
    context: DocumentRegistry.IContext<UnreadModel>,
  ): Explorer {
    const [folder, name] = split(this.services.contents.localPath(context.path));
    const content = new ExplorerPanel(this.services, this.rendermime, `./${name}`, folder);
    return new DocumentWidget({ content, context });
  }
}
