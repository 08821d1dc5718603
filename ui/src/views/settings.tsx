// System prompt and samplers of the conversation at hand; what is typed counts at once, unless it is not valid.
import { useState } from "preact/hooks";
import { changeSettings } from "../chat/state.ts";
import { complaint, noSampling, type NumberField, numberFields } from "../chat/sampling.ts";
import type { Conversation } from "../chat/tree.ts";
import { Dialog } from "../parts/dialog.tsx";

function NumberInput({ field, conversation }: { field: NumberField; conversation: Conversation }) {
  const value = conversation.sampling.numbers[field.name];
  const [text, setText] = useState(value === undefined ? "" : String(value));
  const wrong = complaint(field, text);
  const change = (next: string) => {
    setText(next);
    if (complaint(field, next) !== "") return;
    const { [field.name]: _, ...others } = conversation.sampling.numbers;
    const numbers = next.trim() === "" ? others : { ...others, [field.name]: Number(next) };
    changeSettings({ sampling: { ...conversation.sampling, numbers } });
  };
  const help = `help-${field.name}`;
  return (
    <label class="field">
      <span>{field.label}</span>
      <input
        type="text"
        inputMode="decimal"
        placeholder={field.otherwise ?? "model's own"}
        value={text}
        aria-invalid={wrong !== ""}
        aria-describedby={help}
        onInput={(event) => change(event.currentTarget.value)}
      />
      <small id={help} class={wrong ? "error" : "quiet"}>
        {wrong || field.help}
      </small>
    </label>
  );
}

export function SettingsDialog({ conversation, onClose }: { conversation: Conversation; onClose: () => void }) {
  const [round, setRound] = useState(0); // draws the fields anew after a reset
  const { sampling } = conversation;
  return (
    <Dialog title="Settings of this conversation" side onClose={onClose}>
      <form class="stack" onSubmit={(event) => event.preventDefault()}>
        <label class="field">
          <span>System prompt</span>
          <textarea
            rows={4}
            value={conversation.system}
            placeholder="How the model should answer"
            onInput={(event) => changeSettings({ system: event.currentTarget.value })}
          />
        </label>
        <h3>Sampling</h3>
        <div class="fields" key={round}>
          {numberFields.map((field) => (
            <NumberInput key={field.name} field={field} conversation={conversation} />
          ))}
          <label class="field">
            <span>Stop texts</span>
            <textarea
              rows={2}
              value={sampling.stop.join("\n")}
              onInput={(event) => {
                const stop = event.currentTarget.value.split("\n").slice(0, 16);
                changeSettings({ sampling: { ...sampling, stop: stop.join("") === "" ? [] : stop } });
              }}
            />
            <small class="quiet">one a line; the answer ends before any of them</small>
          </label>
        </div>
        <div class="buttons">
          <button
            type="button"
            class="button small"
            onClick={() => {
              changeSettings({ sampling: noSampling });
              setRound(round + 1);
            }}
          >
            Back to the model's own
          </button>
        </div>
      </form>
    </Dialog>
  );
}
