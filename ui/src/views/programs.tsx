// The programs that the server runs: each a graph of calls, with the time of every one. Below them, a line each, plain requests.
import { useState } from "preact/hooks";
import {
  type PlainRequest, type Program, type ProgramCall, promptRead, ranFor, requestLine, type Session, waitedFor,
} from "../api/programs.ts";
import { readStatus } from "../api/status.ts";
import { duration, whole } from "../parts/figures.ts";
import { layout } from "../parts/graph.ts";
import { usePoll } from "../parts/poll.ts";

const every = 500; // milliseconds between readings
const node = { width: 172, height: 58, across: 56, down: 14 }; // pixels: a call, and the space to the next one

function label(call: ProgramCall, program: Session): string {
  switch (call.state) {
    case "waiting":
      return "waits for its inputs";
    case "queued":
      return `queued for ${duration(waitedFor(call, program))}`;
    case "running":
      return call.read_tokens < call.prompt_tokens
        ? `read ${promptRead(call.read_tokens, call.prompt_tokens)}`
        : `running · ${whole(call.generated_tokens)} tokens`;
    case "done":
      return `${duration(ranFor(call, program))} · ${whole(call.generated_tokens)} tokens`;
    case "failed":
      return call.error ?? "failed";
  }
}

function Graph({ program }: { program: Session }) {
  const { places, columns, rows } = layout(program.nodes.map((call) => call.after));
  const tall = rows * (node.height + node.down) - node.down;
  const x = (at: number) => (places[at]?.column ?? 0) * (node.width + node.across);
  const y = (at: number) => {
    const column = places[at]?.column;
    const others = places.filter((place) => place.column === column).length; // a short column stands in the middle
    return (places[at]?.row ?? 0) * (node.height + node.down) + ((rows - others) * (node.height + node.down)) / 2;
  };
  const edges = program.nodes.flatMap((call, to) => [...new Set(call.after)].map((from) => [from, to] as const));
  return (
    <div class="graph-frame" tabIndex={0} role="group" aria-label={`Calls of ${program.session_id}`}>
      <div class="graph" style={{ width: columns * (node.width + node.across) - node.across, height: tall }}>
        <svg aria-hidden="true">
          {edges.map(([from, to]) => {
            const [x1, y1, x2, y2] = [x(from) + node.width, y(from) + node.height / 2, x(to), y(to) + node.height / 2];
            const bend = (x1 + x2) / 2;
            return <path key={`${from}-${to}`} d={`M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`} />;
          })}
        </svg>
        {program.nodes.map((call, at) => (
          <div
            key={call.node}
            class={`call ${call.state}`}
            style={{ left: x(at), top: y(at), width: node.width, height: node.height }}
            title={`${call.name}: ${label(call, program)}`}
          >
            <strong>{call.name}</strong>
            <span>{label(call, program)}</span>
          </div>
        ))}
      </div>
    </div>
  );
}

function Calls({ program }: { program: Session }) {
  return (
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th>Call</th>
            <th>State</th>
            <th>Goal</th>
            <th class="align-right">Waited</th>
            <th class="align-right">Ran</th>
            <th class="align-right">Prompt</th>
            <th class="align-right">Cached</th>
            <th class="align-right">Generated</th>
          </tr>
        </thead>
        <tbody>
          {program.nodes.map((call) => (
            <tr key={call.node}>
              <td>{call.name}</td>
              <td>{call.error ? `failed: ${call.error}` : call.state}</td>
              <td>{call.group === null ? call.goal : `${call.goal}, ${call.group}`}</td>
              <td class="align-right">{duration(waitedFor(call, program))}</td>
              <td class="align-right">{duration(ranFor(call, program))}</td>
              <td class="align-right">{promptRead(call.read_tokens, call.prompt_tokens)}</td>
              <td class="align-right">{whole(call.cached_tokens)}</td>
              <td class="align-right">{whole(call.generated_tokens)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Section({ program, open }: { program: Session; open: boolean }) {
  const over = program.nodes.filter((call) => call.state === "done" || call.state === "failed").length;
  return (
    <details class="program" open={open}>
      <summary>
        <strong>{program.session_id}</strong>
        <span class="quiet">
          {program.model} · {program.state} · {over} of {program.nodes.length} calls over
        </span>
      </summary>
      {program.nodes.length > 0 ? <Graph program={program} /> : <p class="quiet">No calls yet.</p>}
      {program.nodes.length > 0 && <Calls program={program} />}
    </details>
  );
}

function Requests({ requests }: { requests: PlainRequest[] }) {
  return (
    <>
      <h2>Requests</h2>
      <div class="table" tabIndex={0}>
        <table aria-label="Requests">
          <thead>
            <tr>
              <th>Endpoint</th>
              <th>State</th>
              <th class="align-right">Waited</th>
              <th class="align-right">Ran</th>
              <th class="align-right">Prompt</th>
              <th class="align-right">Cached</th>
              <th class="align-right">Generated</th>
              <th class="align-right">Choices</th>
              <th>Model</th>
            </tr>
          </thead>
          <tbody>
            {requests.map((request) => {
              const line = requestLine(request);
              return (
                <tr key={request.id} title={request.id}>
                  <td>{request.endpoint}</td>
                  <td>{line.state}</td>
                  <td class="align-right">{duration(line.waited)}</td>
                  <td class="align-right">{duration(line.ran)}</td>
                  <td class="align-right">{promptRead(line.read, line.prompt)}</td>
                  <td class="align-right">{whole(line.cached)}</td>
                  <td class="align-right">{whole(line.generated)}</td>
                  <td class="align-right">{whole(request.nodes.length)}</td>
                  <td>{request.model}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}

export function ProgramsView() {
  const [programs, setPrograms] = useState<Program[] | null>(null);
  const error = usePoll(readStatus, (status) => setPrograms(status.programs), every);
  const newest = [...(programs ?? [])].sort((a, b) => a.seconds - b.seconds);
  const sessions = newest.filter((one) => one.object === "semantic_session");
  const requests = newest.filter((one) => one.object === "request");
  return (
    <main class="server">
      <div class="server-column">
        <h1>Programs</h1>
        {error && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        {sessions.map((program, at) => (
          <Section key={program.session_id} program={program} open={at === 0} />
        ))}
        {programs && sessions.length === 0 && (
          <p class="quiet">
            No program is open. <code>lathe run-program FILE.json --server {location.origin}</code> runs one here; an application opens
            one with <code>POST /v1/session</code>.
          </p>
        )}
        {requests.length > 0 && <Requests requests={requests} />}
      </div>
    </main>
  );
}
