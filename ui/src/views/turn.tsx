// One turn: its text, and what can be done with it: copy, edit, ask again, look at its other branches.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { edit, regenerate, stepBranch } from "../chat/state.ts";
import { branch, type Conversation, type Figures, type Turn } from "../chat/tree.ts";
import { CopyButton, Markdown } from "../markdown/view.tsx";
import { Icon } from "../parts/icon.tsx";
import { fitHeight } from "../parts/textarea.ts";

function Editor({ turn, onClose }: { turn: Turn; onClose: () => void }) {
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    if (!area.current) return;
    fitHeight(area.current);
    area.current.focus();
  }, []);
  const keep = () => {
    onClose();
    edit(turn, area.current?.value ?? "");
  };
  return (
    <div class="editor">
      <textarea
        ref={area}
        aria-label="Edit message"
        defaultValue={turn.text}
        onInput={(event) => fitHeight(event.currentTarget)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            onClose();
          }
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            keep();
          }
        }}
      />
      <div class="buttons">
        <button type="button" class="button primary small" onClick={keep}>
          {turn.role === "user" ? "Send" : "Keep"}
        </button>
        <button type="button" class="button small" onClick={onClose}>
          Cancel
        </button>
      </div>
    </div>
  );
}

// "128 tokens · 85.3 tokens/s · first after 0.12 s · prompt 42 (12 cached)"
function figuresText(figures: Figures): string {
  const about = figures.counted ? "" : "~";
  const parts = [`${about}${figures.completionTokens} ${figures.completionTokens === 1 ? "token" : "tokens"}`];
  if (figures.tokensPerSecond !== null) {
    const speed = figures.tokensPerSecond;
    parts.push(`${speed >= 100 ? speed.toFixed(0) : speed.toFixed(1)} tokens/s`);
  }
  parts.push(`first after ${figures.firstTokenSeconds.toFixed(2)} s`);
  if (figures.counted) {
    const cached = figures.cachedTokens > 0 ? ` (${figures.cachedTokens} cached)` : "";
    parts.push(`prompt ${figures.promptTokens}${cached}`);
  }
  return parts.join(" · ");
}

function Branches({ turn, conversation }: { turn: Turn; conversation: Conversation }) {
  const { index, count } = branch(conversation, turn);
  if (count < 2) return null;
  return (
    <span class="branches" role="group" aria-label="Branches">
      <button type="button" class="icon-button small" aria-label="Previous branch" disabled={index === 0} onClick={() => stepBranch(turn, -1)}>
        <Icon name="previous" />
      </button>
      <span>
        {index + 1} of {count}
      </span>
      <button type="button" class="icon-button small" aria-label="Next branch" disabled={index + 1 === count} onClick={() => stepBranch(turn, 1)}>
        <Icon name="next" />
      </button>
    </span>
  );
}

export function TurnView({ turn, conversation, running }: { turn: Turn; conversation: Conversation; running: boolean }) {
  const [editing, setEditing] = useState(false);
  const streaming = turn.state === "streaming";
  const assistant = turn.role === "assistant";
  return (
    <article class={`turn ${turn.role}`} aria-label={assistant ? `Answer of ${turn.model || "the model"}` : "Your message"}>
      {turn.reasoning && (
        <details class="reasoning">
          <summary>{streaming && !turn.text ? "Thinking…" : "Reasoning"}</summary>
          <Markdown text={turn.reasoning} />
        </details>
      )}
      {editing ? (
        <Editor turn={turn} onClose={() => setEditing(false)} />
      ) : assistant ? (
        <Markdown text={turn.text} />
      ) : (
        <div class="said">{turn.text}</div>
      )}
      {streaming && !turn.text && !turn.reasoning && (
        <div class="waiting" role="status" aria-label="Waiting for the first token">
          <i />
          <i />
          <i />
        </div>
      )}
      {turn.state === "failed" && (
        <p class="error" role="alert">
          {turn.error}{" "}
          <button type="button" class="button small" disabled={running} onClick={() => regenerate(turn)}>
            Try again
          </button>
        </p>
      )}
      {!editing && (
        <div class="turn-foot">
          <Branches turn={turn} conversation={conversation} />
          {!streaming && (
            <>
              {assistant && (
                <button
                  type="button"
                  class="icon-button small"
                  data-command="regenerate"
                  aria-label="Regenerate"
                  title="Regenerate (r)"
                  disabled={running}
                  onClick={() => regenerate(turn)}
                >
                  <Icon name="regenerate" />
                </button>
              )}
              <button
                type="button"
                class="icon-button small"
                data-command={`edit-${turn.role}`}
                aria-label="Edit"
                title={assistant ? "Edit" : "Edit (e)"}
                disabled={running}
                onClick={() => setEditing(true)}
              >
                <Icon name="edit" />
              </button>
              {turn.text && <CopyButton text={turn.text} label="Copy message" />}
            </>
          )}
          <span class="figures">
            {turn.state === "stopped" && "stopped · "}
            {turn.finish === "length" && "cut at the length limit · "}
            {turn.figures && figuresText(turn.figures)}
          </span>
        </div>
      )}
    </article>
  );
}
