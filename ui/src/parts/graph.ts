// Where the nodes of a directed acyclic graph are drawn: from left to right in columns by their distance from the start, within a
// column in the order that their predecessors suggest.

export interface Place {
  column: number;
  row: number;
}

export interface Layout {
  places: Place[];
  columns: number;
  rows: number; // of the longest column
}

// `before[i]` lists the predecessors of node i. They need not come first; a node that is its own ancestor ends up in some column.
export function layout(before: number[][]): Layout {
  const level = new Array<number>(before.length).fill(0);
  // Every pass settles one more column at least, so as many passes as nodes suffice, for cycles too.
  for (let changed = true, pass = 0; changed && pass < before.length; ++pass) {
    changed = false;
    before.forEach((nodes, node) => {
      const next = Math.max(0, ...nodes.filter((one) => one !== node && one in level).map((one) => (level[one] ?? 0) + 1));
      if (next !== level[node] && next < before.length) {
        level[node] = next;
        changed = true;
      }
    });
  }
  const columns: number[][] = [];
  level.forEach((at, node) => (columns[at] ??= []).push(node));
  const row = new Array<number>(before.length).fill(0);
  for (const column of columns) {
    const pull = (node: number) => {
      const nodes = (before[node] ?? []).filter((one) => one in row);
      return nodes.length === 0 ? 0 : nodes.reduce((total, one) => total + (row[one] ?? 0), 0) / nodes.length;
    };
    const sorted = [...(column ?? [])].sort((a, b) => pull(a) - pull(b) || a - b);
    sorted.forEach((node, at) => (row[node] = at));
  }
  return {
    places: level.map((column, node) => ({ column, row: row[node] ?? 0 })),
    columns: columns.length,
    rows: Math.max(0, ...columns.map((column) => column?.length ?? 0)),
  };
}
