// The frame around the views: the list of conversations, the head with the model, and what is asked or listed in dialogs.
import { useEffect, useRef, useState } from "preact/hooks";
import { setKeyPrompt } from "../api/client.ts";
import { chat, loadModels, startNew } from "../chat/state.ts";
import { Icon } from "../parts/icon.tsx";
import { useStore } from "../parts/store.ts";
import { applyTheme, nextTheme, savedTheme, type Theme } from "../parts/theme.ts";
import { ChatView } from "./chat.tsx";
import { KeyDialog } from "./key.tsx";
import { ModelPicker } from "./models.tsx";
import { ProgramsView } from "./programs.tsx";
import { ServerView } from "./server.tsx";
import { SettingsDialog } from "./settings.tsx";
import { type Commands, ShortcutsDialog, useShortcuts } from "./shortcuts.tsx";
import { Sidebar } from "./sidebar.tsx";
import { type View, viewOfAddress } from "./view.ts";

type Shown = "settings" | "shortcuts" | null;

interface KeyQuestion {
  wrong: boolean;
  answer: (given: boolean) => void;
}

export function App() {
  const state = useStore(chat);
  const [view, setView] = useState<View>(viewOfAddress);
  const [theme, setTheme] = useState<Theme>(savedTheme);
  const [shown, setShown] = useState<Shown>(null);
  const [sidebar, setSidebar] = useState(false); // on narrow screens, where it lies over the rest
  const [question, setQuestion] = useState<KeyQuestion | null>(null);
  const picker = useRef<HTMLSelectElement>(null);

  useEffect(() => {
    setKeyPrompt((wrong) => new Promise((answer) => setQuestion({ wrong, answer })));
    void loadModels(); // not before: it may need to ask for the key
    const followHash = () => setView(viewOfAddress());
    addEventListener("hashchange", followHash);
    return () => removeEventListener("hashchange", followHash);
  }, []);

  const go = (to: View) => {
    location.hash = to === "chat" ? "" : to;
    setView(to);
    setSidebar(false);
  };
  const cycleTheme = () => {
    const next = nextTheme(theme);
    applyTheme(next);
    setTheme(next);
  };
  const begin = () => {
    startNew();
    go("chat");
    requestAnimationFrame(() => document.getElementById("message")?.focus());
  };
  const commands: Commands = {
    newConversation: begin,
    showChat: () => go("chat"),
    showPrograms: () => go("programs"),
    showServer: () => go("server"),
    settings: () => setShown("settings"),
    shortcuts: () => setShown("shortcuts"),
    theme: cycleTheme,
    pickModel: () => picker.current?.focus(),
  };
  useShortcuts(commands);

  return (
    <div class={sidebar ? "app with-sidebar" : "app"}>
      <Sidebar view={view} onView={go} onNew={begin} onClose={() => setSidebar(false)} />
      <div class="main">
        <header class="head">
          <button
            type="button"
            class="icon-button only-narrow"
            aria-label="Conversations"
            aria-expanded={sidebar}
            onClick={() => setSidebar(!sidebar)}
          >
            <Icon name="menu" />
          </button>
          <ModelPicker state={state} select={picker} />
          <span class="space" />
          <button type="button" class="icon-button" aria-label="Settings of this conversation" title="Settings (s)" onClick={commands.settings}>
            <Icon name="sliders" />
          </button>
          <button type="button" class="icon-button" aria-label={`Theme: ${theme}`} title={`Theme: ${theme} (t)`} onClick={cycleTheme}>
            <Icon name="theme" />
          </button>
          <button type="button" class="icon-button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={commands.shortcuts}>
            <Icon name="keyboard" />
          </button>
        </header>
        {view === "chat" && <ChatView state={state} />}
        {view === "programs" && <ProgramsView />}
        {view === "server" && <ServerView />}
      </div>
      {shown === "settings" && <SettingsDialog conversation={state.current} onClose={() => setShown(null)} />}
      {shown === "shortcuts" && <ShortcutsDialog onClose={() => setShown(null)} />}
      {question && (
        <KeyDialog
          wrong={question.wrong}
          onDone={(given) => {
            setQuestion(null);
            question.answer(given);
          }}
        />
      )}
    </div>
  );
}
