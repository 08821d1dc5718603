// Which model, and which of its adapters, answers in this conversation.
import type { Ref } from "preact";
import { changeSettings, type ChatState, loadModels, modelOf } from "../chat/state.ts";

function parts(name: string): [string, string] {
  const colon = name.indexOf(":");
  return colon < 0 ? [name, ""] : [name.slice(0, colon), name.slice(colon + 1)];
}

export function ModelPicker({ state, select }: { state: ChatState; select: Ref<HTMLSelectElement> }) {
  if (state.modelsError) {
    return (
      <p class="error inline" role="alert">
        Models: {state.modelsError}{" "}
        <button type="button" class="button small" onClick={() => void loadModels()}>
          Try again
        </button>
      </p>
    );
  }
  const [model, adapter] = parts(modelOf(state, state.current));
  const models = [...new Set(state.models.map((name) => parts(name)[0]))];
  const adapters = state.models.map(parts).filter(([name, own]) => name === model && own !== "");
  const choose = (name: string) => changeSettings({ model: name });
  return (
    <div class="pickers">
      <select ref={select} aria-label="Model" value={model} onChange={(event) => choose(event.currentTarget.value)}>
        {models.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      {adapters.length > 0 && (
        <select
          aria-label="Adapter"
          value={adapter}
          onChange={(event) => choose(event.currentTarget.value ? `${model}:${event.currentTarget.value}` : model)}
        >
          <option value="">no adapter</option>
          {adapters.map(([, own]) => (
            <option key={own} value={own}>
              {own}
            </option>
          ))}
        </select>
      )}
    </div>
  );
}
