// A small chart of the last minutes: one or two lines over time, the first one filled.
export interface Series {
  label: string;
  values: (number | null)[]; // oldest first, the newest at the right edge; null: nothing known
}

const width = 300;
const height = 90;

// The least of 1, 2, 5, 10, ... that is not below `value`.
export function niceCeiling(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9)) ?? 10) * power;
}

function lines(values: (number | null)[], slots: number, top: number): [number, number][][] {
  const pieces: [number, number][][] = [[]];
  const first = slots - values.length;
  values.forEach((value, index) => {
    if (value === null) return void (pieces[pieces.length - 1]?.length && pieces.push([]));
    const x = ((first + index) / (slots - 1)) * width;
    pieces[pieces.length - 1]?.push([x, height - (Math.min(value, top) / top) * (height - 4) - 1]);
  });
  return pieces.filter((piece) => piece.length > 0);
}

const points = (piece: [number, number][]) => piece.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

export function Chart(props: { title: string; series: Series[]; slots: number; top?: number; format: (value: number) => string }) {
  const { series, slots, format } = props;
  const known = series.flatMap((one) => one.values.filter((value): value is number => value !== null));
  const top = props.top ?? niceCeiling(Math.max(0, ...known));
  const latest = series.map((one) => {
    const value = one.values[one.values.length - 1] ?? null;
    return `${one.label} ${value === null ? "–" : format(value)}`;
  });
  return (
    <figure class="chart">
      <figcaption>
        <span>{props.title}</span>
        <span class="quiet">to {format(top)}</span>
      </figcaption>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={`${props.title}: ${latest.join(", ")}`}>
        <path class="grid" d={`M0 ${height / 2}H${width}M0 ${height - 0.5}H${width}`} />
        {series.map((one, index) =>
          lines(one.values, slots, top).map((piece, key) => (
            <g key={`${index}-${key}`} class={`series-${index}`}>
              {index === 0 && (
                <polygon points={`${piece[0]?.[0]},${height} ${points(piece)} ${piece[piece.length - 1]?.[0]},${height}`} />
              )}
              <polyline points={points(piece)} />
            </g>
          )),
        )}
      </svg>
      <p class="legend">
        {series.map((one, index) => (
          <span key={one.label} class={`series-${index}`}>
            {latest[index]}
          </span>
        ))}
      </p>
    </figure>
  );
}
