/** Double click on a checkpoint, fits or a store opens the explorer in a tab of its own. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import { InputDialog, MainAreaWidget } from "@jupyterlab/apputils";
import { IFileBrowserFactory } from "@jupyterlab/filebrowser";
import { ILauncher } from "@jupyterlab/launcher";
import { IRenderMimeRegistry } from "@jupyterlab/rendermime";
import { LabIcon } from "@jupyterlab/ui-components";

import { ExplorerFactory, UnreadModelFactory } from "./factory";
import { ExplorerPanel, split } from "./panel";
import iconText from "./icon";

const NAME = "Weibull explorer";
const OPEN = "weibnb:open";
const icon = new LabIcon({ name: "weibnb:icon", svgstr: iconText });
/** What others write as well, such as `.nc` and `.db`, is offered by "Open With" alone. */
const FILE_TYPES = [
  { name: "weibnb-weights", displayName: "Weights", extensions: [".safetensors"], own: true },
  { name: "weibnb-fits", displayName: "Fits", extensions: [".weibnb.nc"], own: true },
  { name: "weibnb-store", displayName: "Store of fits", extensions: [".weibnb.db"], own: true },
  { name: "weibnb-netcdf", displayName: "netCDF", extensions: [".nc"], own: false },
  { name: "weibnb-sqlite", displayName: "SQLite", extensions: [".db", ".sqlite"], own: false },
];

function activate(
  app: JupyterFrontEnd,
  rendermime: IRenderMimeRegistry,
  launcher: ILauncher | null,
  browsers: IFileBrowserFactory | null,
): void {
  const { docRegistry, serviceManager: services } = app;
  if (!docRegistry) return; // Voilà loads extensions, too, and opens no documents
  for (const { own: _, ...type } of FILE_TYPES) {
    docRegistry.addFileType({ ...type, icon, contentType: "file", fileFormat: "base64" });
  }
  docRegistry.addModelFactory(new UnreadModelFactory());
  const factory = new ExplorerFactory(
    {
      name: NAME,
      modelName: "weibnb-unread",
      fileTypes: FILE_TYPES.map((type) => type.name),
      defaultFor: FILE_TYPES.filter((type) => type.own).map((type) => type.name),
      readOnly: true,
    },
    services,
    rendermime,
  );
  factory.widgetCreated.connect((_, widget) => {
    widget.title.icon = icon;
  });
  docRegistry.addWidgetFactory(factory);
  addCommand(app, rendermime, browsers);
  launcher?.add({ command: OPEN, category: "Other", rank: 10 });
  app.contextMenu.addItem({
    command: OPEN,
    selector: '.jp-DirListing-item[data-isdir="true"]',
    rank: 4,
    args: { fromBrowser: true },
  });
}

/** Open a folder, or whatever else `weibnb.explore` takes by its name. */
function addCommand(
  app: JupyterFrontEnd,
  rendermime: IRenderMimeRegistry,
  browsers: IFileBrowserFactory | null,
): void {
  const { commands, serviceManager: services, shell } = app;
  commands.addCommand(OPEN, {
    label: (args) => (args.fromBrowser ? `Open in the ${NAME}` : NAME),
    caption: "Look at the weights of a checkpoint",
    icon: (args) => (args.isPalette ? undefined : icon),
    execute: async (args) => {
      let folder = String(args.cwd ?? "");
      let path = String(args.path ?? "");
      if (args.fromBrowser) {
        const clicked = browsers?.tracker.currentWidget?.selectedItems().next().value;
        [folder, path] = split(services.contents.localPath(clicked?.path ?? ""));
        path &&= `./${path}`;
      }
      path ||= (await askForPath()) ?? "";
      if (!path) return;
      const content = new ExplorerPanel(services, rendermime, path, folder);
      const widget = new MainAreaWidget({ content });
      widget.title.label = split(path)[1] || path;
      widget.title.caption = path;
      widget.title.icon = icon;
      shell.add(widget, "main");
      shell.activateById(widget.id);
    },
  });
}

/** Ask for a path; none if it was cancelled. */
async function askForPath(): Promise<string | null> {
  const answer = await InputDialog.getText({
    title: NAME,
    label: "A checkpoint, a folder of them, fits (.nc) or a store (.db); a model of the Hub or a URL",
    placeholder: "path/to/checkpoint",
    okLabel: "Open",
  });
  return answer.button.accept ? (answer.value ?? "").trim() : null;
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: "weibnb:explorer",
  description: "Opens checkpoints, fits and stores in the explorer of weights.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ILauncher, IFileBrowserFactory],
  activate,
};

export default plugin;
