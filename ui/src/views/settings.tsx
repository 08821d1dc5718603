// System prompt and samplers of the conversation at hand; what is typed counts at once, unless it is not valid.
import { useState } from "preact/hooks";
import { changeSettings } from "../chat/state.ts";
import { complaint, noSampling, type NumberField, numberFields, policyKinds, type Sampling } from "../chat/sampling.ts";
import type { Conversation } from "../chat/tree.ts";
import { Dialog } from "../parts/dialog.tsx";

interface Numbers {
  field: NumberField;
  numbers: Record<string, number>;
  set: (numbers: Record<string, number>) => void;
}

function NumberInput({ field, numbers, set }: Numbers) {
  const value = numbers[field.name];
  const [text, setText] = useState(value === undefined ? "" : String(value));
  const wrong = complaint(field, text);
  const change = (next: string) => {
    setText(next);
    if (complaint(field, next) !== "") return;
    const { [field.name]: _, ...others } = numbers;
    set(next.trim() === "" ? others : { ...others, [field.name]: Number(next) });
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

function PolicyFields({ sampling }: { sampling: Sampling }) {
  const { policy } = sampling;
  const kind = policyKinds.find((one) => one.name === policy?.name);
  const choose = (name: string) => {
    const { policy: _, ...others } = sampling;
    changeSettings({ sampling: name === "" ? others : { ...others, policy: { name, numbers: {} } } });
  };
  return (
    <>
      <label class="field">
        <span>Attends to</span>
        <select aria-describedby="help-policy" value={kind?.name ?? ""} onChange={(event) => choose(event.currentTarget.value)}>
          <option value="">what the server says</option>
          {policyKinds.map((one) => (
            <option key={one.name} value={one.name}>
              {one.label}
            </option>
          ))}
        </select>
        <small id="help-policy" class="quiet">
          {kind?.help ?? "which tokens of a long conversation the model looks at"}
        </small>
      </label>
      {policy &&
        kind?.fields.map((field) => (
          <NumberInput
            key={`${kind.name} ${field.name}`}
            field={field}
            numbers={policy.numbers}
            set={(numbers) => changeSettings({ sampling: { ...sampling, policy: { ...policy, numbers } } })}
          />
        ))}
    </>
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
            <NumberInput
              key={field.name}
              field={field}
              numbers={sampling.numbers}
              set={(numbers) => changeSettings({ sampling: { ...sampling, numbers } })}
            />
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
          <PolicyFields sampling={sampling} />
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
