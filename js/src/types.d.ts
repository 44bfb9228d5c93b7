// Shapes of what Python sends: weibnb/explorer/content.py and widget.py write it.
import type { Spec, View } from "vega-typings";

declare global {
  /** Of vega-embed, which Python joins to this script. */
  function vegaEmbed(place: HTMLElement, spec: Spec, options: object): Promise<Drawn>;
}

/** A chart on the page. */
export interface Drawn {
  view: View;
  finalize(): void;
}

/** Model, layer, component and step of a matrix. */
export type Cell = [string, number | string, string, number | string];
/** A row of a chart or of the table; of one matrix, if it has all four of them. */
export type Datum = Record<string, unknown>;
/** Ends of a rectangle, in pixels. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}
/** What a chart draws for one matrix, and where: pixels from the chart's corner. */
export interface Mark {
  kind: string;
  cell: Cell;
  box: Box;
}

export interface Facet {
  name: string;
  title: string;
  labels: string[];
  values: string[];
  more: boolean;
}
export interface Panel {
  title: string;
  options: string[];
  one_step: boolean;
}
export interface Controls {
  facets: Facet[];
  layers: [number, number];
  panels: Record<string, Panel>;
  options: Record<string, string>;
  choices: Record<string, Record<string, string>>;
  columns: Record<string, string>;
  /** Colours of a dark page, by those of a light one. */
  dark: Record<string, string>;
  texts: Record<string, string>;
  /** Why a saved page has no filters. */
  unfiltered?: string;
}
export interface Checkpoints {
  steps: number[];
  /** Name, the name as it is shown, and its steps where they are not all. */
  models: [string, string, (number | string)[] | null][];
}
/** What the explorer follows, why it cannot be read, and of a scan how far it is. */
export interface Following {
  followed: string;
  problem: string;
  /** From 0 to 1, of a scan. */
  share?: number;
  /** How far a scan is, in words. */
  text?: string;
  /** Whether a scan goes on. */
  runs?: boolean;
}
export interface Words {
  problem?: string;
  count: string;
  left_out: string;
  spoken: string;
  no_refit: string;
  empty: string[];
  code: string;
  /** Python that opens the same view again. */
  call: string;
  chosen: Cell[];
  /** Numbers of the selected and the pinned matrices. */
  matrices: Matrices | null;
  counts: Record<string, number[]>;
  /** The protocol of the charts, and what the map shows. */
  drawn: Asked;
  /** How many experts the first of the selected matrices has, where these are several. */
  experts?: number;
}
export interface Asked {
  trim: [number, number];
  estimator: "rank_regression" | "maximum_likelihood";
  value: string;
}
export interface Matrices {
  heads: { pin: string; name: string; place: string }[];
  /** A label, and a value of each matrix. */
  rows: string[][];
  /** How many are not listed, in words. */
  more: string;
}
export type Value = string | number | boolean | null;
/** Values of every row, or different values and the number of each row's. */
export interface PackedColumn {
  name: string;
  values: Value[];
  codes?: number[];
}
/** What the bars are drawn from: `reach` of k fills one half, `largest` is that of λ. */
export interface Bars {
  middle: number;
  reach: number;
  colours: string[];
  largest: number;
}
export interface Rows {
  columns: PackedColumn[];
  total: number;
  bars: Bars;
}
/** One thing that was found, or a rule that was not looked at. */
export interface Finding {
  severity: string;
  rule: string;
  where: string;
  text: string;
  cells: Cell[];
}
export interface Findings {
  badge: string;
  severity: string;
  headline: string;
  rows: Finding[];
  note: string;
}
export interface ChartContent {
  spec?: Spec;
  problem?: string;
  label: string;
}

/** The widget's state, as Jupyter gives it. */
export interface Model {
  // biome-ignore lint/suspicious/noExplicitAny: every trait has a type of its own
  get(name: string): any;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(message: object): void;
  // biome-ignore lint/suspicious/noExplicitAny: every event has arguments of its own
  on(name: string, act: (...given: any[]) => void): void;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  off(name: string, act: (...given: any[]) => void): void;
}
/** What people changed: traits and their new values. */
export type Changes = Record<string, unknown>;
export type Send = (changes: Changes) => void;
/** A part of the page, and what brings it up to date. */
export interface Part {
  element: HTMLElement;
  update(words: Words): void;
}
/** What every part of the page is made with. */
export interface Page {
  model: Model;
  controls: Controls;
  checkpoints(): Checkpoints;
  send: Send;
  busy(): boolean;
}

/** What a page that is saved holds. */
export interface Saved {
  controls: Controls;
  checkpoints: Checkpoints;
  /** Traits that the page was saved with. */
  state: { panel: string; step: number; trim: [number, number]; estimator: string };
  /** `Held` of the sieve, packed. */
  cells: string;
  /** By step: JSON of a `Frame`, packed. */
  frames: Record<string, string>;
  /** The protocol of the charts. */
  drawn: Asked;
  /** Model and step of both checkpoints that are compared. */
  compared: [string, string | number][] | null;
  /** What is not in the page, in words. */
  note: string;
  live: { header: import("./fitting/counts.js").Header; data: string } | null;
  /** Why it cannot fit, where it cannot. */
  stays: string;
}
/** What Python drew at one step. */
export interface Frame {
  charts: Record<string, StillContent>;
  /** The Weibull plot of one matrix, where `charts` have that of several. */
  plot: StillContent | null;
  /** k along the layers without rows, where that is drawn; null where the page cannot fill it. */
  profile?: StillContent | null;
  chosen: Cell[];
  /** The matrices whose numbers are listed. */
  listed: Cell[];
  matrices: Matrices | null;
}
/** A chart whose title may say what is found in it; `plain` says what it shows. */
export interface StillContent extends ChartContent {
  plain?: string;
  /** How the page makes it of some of its matrices, where taking rows out is not enough. */
  again?: import("./again.js").Bands | import("./again.js").Strip | import("./cohort.js").Cohort | null;
}
