//! Everything a user can do, in one table: footer hints, help, palette and the key table of docs come from it.

/// Where a key means what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Context {
    /// Everywhere, text entry included.
    Always,
    /// Everywhere outside text entry.
    Global,
    /// Any panel of the Explore screen but the prompt.
    Explore,
    /// The prompt, while it takes letters.
    Prompt,
    Detail,
    Ratio,
    /// The screen of one latent.
    Latent,
    /// The screen of predictions.
    Predictions,
    /// The screen of the prompt continued.
    Generation,
    /// Wherever a latent is looked at.
    OnLatent,
    Metrics,
    /// The screen of the atlas.
    Atlas,
    /// The screen of all layers.
    Layers,
    /// The screen of a study.
    Study,
    /// The form that starts a job.
    Form,
    /// Screens that are read: session and log.
    Reader,
    /// When the session could not be loaded.
    Failed,
    /// Overlays with a list: help and palette; and finding a latent.
    List,
    /// The question before quitting.
    Confirm,
}

impl Context {
    pub const ALL: [Self; 19] = [
        Self::Prompt,
        Self::Explore,
        Self::Detail,
        Self::Ratio,
        Self::OnLatent,
        Self::Latent,
        Self::Predictions,
        Self::Generation,
        Self::Metrics,
        Self::Atlas,
        Self::Layers,
        Self::Study,
        Self::Form,
        Self::Reader,
        Self::Failed,
        Self::List,
        Self::Confirm,
        Self::Global,
        Self::Always,
    ];

    /// This context and those of every screen that are looked up behind it.
    pub fn wider(self) -> Vec<Self> {
        match self {
            Self::Prompt | Self::Form | Self::List | Self::Confirm => vec![self, Self::Always],
            Self::Latent | Self::Predictions | Self::Generation => {
                vec![self, Self::OnLatent, Self::Global, Self::Always]
            }
            _ => vec![self, Self::Global, Self::Always],
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Always => "Everywhere",
            Self::Global => "Outside text entry",
            Self::Explore => "Explore",
            Self::Prompt => "In the prompt",
            Self::Detail => "In the latent's panel",
            Self::Ratio => "In the slider's panel",
            Self::OnLatent => "On a latent",
            Self::Latent => "In the latent's screen",
            Self::Predictions => "In the predictions",
            Self::Generation => "In the continued texts",
            Self::Metrics => "Metrics",
            Self::Atlas => "In the atlas",
            Self::Layers => "In the strip of layers",
            Self::Study => "In a study",
            Self::Form => "In the form of a job",
            Self::Reader => "Session and log",
            Self::Failed => "When loading failed",
            Self::List => "In lists",
            Self::Confirm => "When asked",
        }
    }
}

/// What a key or an entry of the palette does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Quit,
    QuitNow,
    Suspend,
    Back,
    Help,
    Palette,
    Redraw,
    NextPanel,
    PreviousPanel,
    /// Panel by its number, from 1; with an empty prompt, one of its examples.
    Panel(u8),
    Submit,
    Newline,
    ClearPrompt,
    TokenLeft,
    TokenRight,
    FirstToken,
    LastToken,
    LatentUp,
    LatentDown,
    LatentPageUp,
    LatentPageDown,
    FirstLatent,
    LastLatent,
    Find,
    Sort,
    WholePrompt,
    Shade,
    Split,
    Swap,
    OpenLatent,
    PreviousLatent,
    NextLatent,
    TextsBeside,
    NextVariants,
    Pin,
    Predictions,
    Generate,
    PreviousText,
    NextText,
    TakeText,
    GenerationSettings,
    Ablate,
    Edit,
    DropEdits,
    ErrorTerm,
    Name,
    EarlierPrompt,
    LaterPrompt,
    RatioDown,
    RatioUp,
    RatioFineDown,
    RatioFineUp,
    RatioZero,
    Criterion,
    Knob,
    ScrollUp,
    ScrollDown,
    PageUp,
    PageDown,
    Accept,
    Measure,
    Train,
    Metrics,
    Atlas,
    AtlasLeft,
    AtlasRight,
    AtlasAcross,
    AtlasAcrossBack,
    AtlasUpwards,
    AtlasUpwardsBack,
    AtlasReverse,
    AtlasList,
    AtlasFate,
    AtlasNamed,
    AtlasClear,
    AtlasRegion,
    AtlasFates,
    Open,
    PreviousLayer,
    NextLayer,
    Layers,
    Copies,
    GoToLayer,
    Study,
    SquareLeft,
    SquareRight,
    OpenCell,
    ExploreCell,
    NextCurve,
    NextNotable,
    PauseJob,
    ResumeJob,
    CancelJob,
    JobEarlier,
    JobLater,
    WriteResults,
    ViewPrevious,
    ViewNext,
    Beside,
    NextFigure,
    ValuePrevious,
    ValueNext,
    ValueDefault,
    Session,
    Log,
    Theme,
    Mouse,
    Copy,
    Export,
    Tour,
    TourNext,
    TakeUp,
    SaveView,
    Explanations,
    Record,
    Retry,
    KeepRunning,
    QuitDropping,
}

/// Cells of a title beside the descriptions.
pub const TITLE: usize = 28;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    pub action: Action,
    /// For key files; never changes.
    pub id: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub context: Context,
    pub keys: &'static [&'static str],
    /// Short words for the footer; neighbours with the same words share one entry.
    pub hint: Option<&'static str>,
}

const fn row(
    action: Action,
    id: &'static str,
    title: &'static str,
    description: &'static str,
    context: Context,
    keys: &'static [&'static str],
    hint: Option<&'static str>,
) -> ActionSpec {
    ActionSpec { action, id, title, description, context, keys, hint }
}

use Action as A;
use Context as C;

/// In the order of help and hints.
#[rustfmt::skip]
pub const ACTIONS: &[ActionSpec] = &[
    row(A::Submit, "submit", "Compare now", "Compare the prompt at once and go to its latents", C::Prompt, &["enter"], Some("compare")),
    row(A::Newline, "newline", "New line", "Put a line break into the prompt", C::Prompt, &["ctrl-j", "alt-enter"], None),
    row(A::EarlierPrompt, "earlier-prompt", "Earlier prompt", "Take up an earlier prompt again; in a prompt of several lines, the line above first", C::Prompt, &["up"], None),
    row(A::LaterPrompt, "later-prompt", "Later prompt", "Come back to a later prompt, or the line below", C::Prompt, &["down"], None),
    row(A::ClearPrompt, "clear-prompt", "Clear the prompt", "Empty the prompt and see its examples", C::Prompt, &["ctrl-l", "ctrl-u"], Some("clear")),
    row(A::TokenLeft, "token-left", "Token to the left", "Select the previous token", C::Explore, &["left", "h"], Some("token")),
    row(A::TokenRight, "token-right", "Token to the right", "Select the next token", C::Explore, &["right", "l"], Some("token")),
    row(A::FirstToken, "first-token", "First token", "Select the first token of the prompt", C::Explore, &["home"], None),
    row(A::LastToken, "last-token", "Last token", "Select the last token of the prompt", C::Explore, &["end"], None),
    row(A::LatentUp, "latent-up", "Latent above", "Select the latent above in the table", C::Explore, &["up", "k"], Some("latent")),
    row(A::LatentDown, "latent-down", "Latent below", "Select the latent below in the table", C::Explore, &["down", "j"], Some("latent")),
    row(A::LatentPageUp, "latent-page-up", "A page of latents up", "Move up by ten rows", C::Explore, &["pageup", "ctrl-u"], None),
    row(A::LatentPageDown, "latent-page-down", "A page of latents down", "Move down by ten rows", C::Explore, &["pagedown", "ctrl-d"], None),
    row(A::FirstLatent, "first-latent", "First latent", "Select the first row of the table", C::Explore, &["<"], None),
    row(A::LastLatent, "last-latent", "Last latent", "Select the last row of the table", C::Explore, &[">", "G"], None),
    row(A::ScrollUp, "detail-up", "Scroll up", "Scroll the latent's panel up", C::Detail, &["up", "k"], Some("scroll")),
    row(A::ScrollDown, "detail-down", "Scroll down", "Scroll the latent's panel down", C::Detail, &["down", "j"], Some("scroll")),
    row(A::RatioFineDown, "slide-left", "Less compression", "Turn the knob back by its smallest step, or 1 %", C::Ratio, &["left", "h"], Some("slide")),
    row(A::RatioFineUp, "slide-right", "More compression", "Turn the knob by its smallest step, or 1 %", C::Ratio, &["right", "l"], Some("slide")),
    row(A::PreviousText, "previous-text", "Text before", "Select the text before", C::Generation, &["left", "h", "up", "k"], Some("text")),
    row(A::NextText, "next-text", "Text after", "Select the next text", C::Generation, &["right", "l", "down", "j"], Some("text")),
    row(A::TakeText, "take-text", "Into the prompt", "Put the selected text behind the prompt, and follow the latents on it", C::Generation, &["enter"], Some("into the prompt")),
    row(A::GenerationSettings, "generation-settings", "How to continue", "Length, temperature, top-p and seed of continued texts", C::Generation, &["o"], Some("settings")),
    row(A::ScrollUp, "layers-up", "Layer above", "Select the layer above", C::Layers, &["up", "k"], Some("select")),
    row(A::ScrollDown, "layers-down", "Layer below", "Select the layer below", C::Layers, &["down", "j"], Some("select")),
    row(A::GoToLayer, "go-to-layer", "Go to the layer", "Go to the selected layer, with the prompt as it is", C::Layers, &["enter"], Some("go there")),
    row(A::PreviousLayer, "previous-layer", "Previous layer", "Go to the layer before that there is an SAE of; prompt, token and knob stay", C::Global, &[","], Some("layer")),
    row(A::NextLayer, "next-layer", "Next layer", "Go to the next layer that there is an SAE of; prompt, token and knob stay", C::Global, &["."], Some("layer")),
    row(A::Layers, "layers", "All layers", "The prompt at every layer, in every variant: variance explained, KL divergence, latents that survive", C::Global, &[";"], Some("all layers")),
    row(A::Copies, "copies", "Compressed copies", "Change between the copies of --compress given more than once: what each makes of this prompt", C::Global, &["P"], Some("copies")),
    row(A::RatioDown, "ratio-down", "Turn the knob back", "Prune 5 % less of the SAE, or give it a bit more, or a higher rank", C::Global, &["["], Some("knob")),
    row(A::RatioUp, "ratio-up", "Turn the knob", "Prune 5 % more of the SAE, or take a bit, or ranks", C::Global, &["]"], Some("knob")),
    row(A::RatioFineDown, "ratio-fine-down", "Turn the knob back a little", "Prune 1 % less of the SAE, or turn its knob back by its smallest step", C::Global, &["{"], None),
    row(A::RatioFineUp, "ratio-fine-up", "Turn the knob a little", "Prune 1 % more of the SAE, or turn its knob by its smallest step", C::Global, &["}"], None),
    row(A::RatioZero, "ratio-zero", "Untouched SAE", "Turn the knob all the way back", C::Global, &["0"], None),
    row(A::Criterion, "criterion", "Next criterion", "Rank weights or latents by the next criterion", C::Global, &["c"], Some("criterion")),
    row(A::Knob, "knob", "Next knob", "Turn something else on the SAE: ratio of weights, bits, rank, or latents", C::Global, &["C"], None),
    row(A::Sort, "sort", "Sort by the next column", "Sort latents by each variant in turn, then by difference", C::Explore, &["o"], Some("order")),
    row(A::WholePrompt, "whole-prompt", "Token or whole prompt", "Show latents of the selected token, or the strongest of the whole prompt", C::Explore, &["w"], Some("whole prompt")),
    row(A::Shade, "shade-difference", "Shade by something else", "Shade the strips by the latent, by its difference from the original, or by how far the models' predictions are apart", C::Explore, &["d"], None),
    row(A::OpenLatent, "open-latent", "The latent in full", "Open the selected latent: its texts, densities and neighbours in every variant", C::Explore, &["enter"], Some("latent in full")),
    row(A::ScrollUp, "latent-scroll-up", "Texts up", "Scroll the latent's texts up", C::Latent, &["up", "k"], Some("texts")),
    row(A::ScrollDown, "latent-scroll-down", "Texts down", "Scroll the latent's texts down", C::Latent, &["down", "j"], Some("texts")),
    row(A::PageUp, "latent-texts-page-up", "A page of texts up", "Scroll the latent's texts up by ten lines", C::Latent, &["pageup", "ctrl-u"], None),
    row(A::PageDown, "latent-texts-page-down", "A page of texts down", "Scroll the latent's texts down by ten lines", C::Latent, &["pagedown", "ctrl-d"], None),
    row(A::PreviousLatent, "previous-latent", "Previous latent", "Go to the latent above in the table", C::Latent, &["left", "h"], Some("latent")),
    row(A::NextLatent, "next-latent", "Next latent", "Go to the latent below in the table", C::Latent, &["right", "l"], Some("latent")),
    row(A::TextsBeside, "texts-beside", "Texts of another variant", "Show the texts of the next variant beside the original's; with another latent pinned, those of both in the next variant", C::Latent, &["v"], Some("variant beside")),
    row(A::Pin, "pin", "Pin the latent", "Keep this latent beside the others that are looked at, or let it go", C::Latent, &["b"], Some("pin")),
    row(A::TokenLeft, "predictions-left", "Token to the left", "See what was said after the token before", C::Predictions, &["left", "h"], Some("token")),
    row(A::TokenRight, "predictions-right", "Token to the right", "See what was said after the next token", C::Predictions, &["right", "l"], Some("token")),
    row(A::NextVariants, "next-variants", "Further variants", "Where not all variants fit beside each other: show those that are left out", C::Predictions, &["v"], None),
    row(A::Find, "find", "Find a latent", "Go to a latent by its number, name, fate (died, weakened, grew, new), a word that it fires on or promotes, or its likeness to another (~1077)", C::Explore, &["/"], Some("find")),
    row(A::Predictions, "predictions", "What the models say", "Next tokens by both models, with each variant's reconstruction, and with edits in force", C::Explore, &["p"], Some("predictions")),
    row(A::Generate, "generate", "Continue the prompt", "Continue the prompt in both models side by side, and with the edits in force; there: draw another text", C::Explore, &["g"], Some("continue")),
    row(A::Split, "split", "Two prompts", "Keep a copy of the prompt under it and change the first: tokens aligned, latents of both in one table; again leaves the second", C::Explore, &["|"], Some("two prompts")),
    row(A::Swap, "swap", "Swap the prompts", "Make the second prompt the first, to change it", C::Explore, &["\\"], None),
    row(A::Ablate, "ablate", "Ablate the latent", "Set the selected latent to 0 in every variant while the models read on, or let it be", C::Explore, &["x"], None),
    row(A::Edit, "edit", "Steer the latent", "Write a change of the selected latent: scale:F, set:V or add:S, at @P or from @P..", C::Explore, &["s"], None),
    row(A::Name, "name", "Name the latent", "Give the selected latent a name: it is kept with the SAE's contents, and shown wherever the latent is", C::Explore, &["n"], None),
    row(A::DropEdits, "drop-edits", "Drop all edits", "Take back every edit in force", C::Explore, &["X"], None),
    row(A::Generate, "generate-here", "Continue the prompt", "Continue the prompt in both models side by side, and with the edits in force; there: draw another text", C::OnLatent, &["g"], Some("continue")),
    row(A::Find, "find-here", "Find a latent", "Go to a latent by its number, name, fate, a word, or its likeness to another (~1077)", C::OnLatent, &["/"], Some("find")),
    row(A::Predictions, "predictions-here", "What the models say", "Next tokens by both models, with each variant's reconstruction, and with edits in force", C::OnLatent, &["p"], Some("predictions")),
    row(A::Ablate, "ablate-here", "Ablate the latent", "Set the selected latent to 0 in every variant while the models read on, or let it be", C::OnLatent, &["x"], Some("ablate")),
    row(A::Edit, "edit-here", "Steer the latent", "Write a change of the selected latent: scale:F, set:V or add:S, at @P or from @P..", C::OnLatent, &["s"], Some("steer")),
    row(A::Name, "name-here", "Name the latent", "Give the selected latent a name: it is kept with the SAE's contents, and shown wherever the latent is", C::OnLatent, &["n"], None),
    row(A::DropEdits, "drop-edits-here", "Drop all edits", "Take back every edit in force", C::OnLatent, &["X"], None),
    row(A::ErrorTerm, "error-term", "Keep or drop the error", "While edits are in force: keep what the SAE misses, or let the models read reconstructions", C::OnLatent, &["E"], None),
    row(A::Measure, "core", "Measure", "Choose a metric and its parameters, and run it in the background", C::Global, &["m"], Some("measure")),
    row(A::Train, "train", "Train an SAE", "Train an SAE on the pruned model in the background; when it is done it is the variant `trained`", C::Global, &["ctrl-t"], None),
    row(A::Atlas, "atlas", "Atlas", "The whole dictionary over a corpus: density, death and fate of every latent", C::Global, &["a"], None),
    row(A::Open, "open", "Open another session", "Change model, SAE, hook, compression ... as flags do, without a restart: :open --compress wanda:0.3, :open NAME", C::Global, &["O"], None),
    row(A::Study, "study", "Study", "The cells of a study as they are measured, here or elsewhere, with figures and curves: :study FOLDER; there: another study", C::Global, &["S"], None),
    row(A::Metrics, "metrics", "Metrics", "Open the metrics screen without starting anything", C::Global, &["M"], None),
    row(A::ScrollUp, "metrics-up", "Run above", "Select the job or earlier run above", C::Metrics, &["up", "k"], Some("run")),
    row(A::ScrollDown, "metrics-down", "Run below", "Select the job or earlier run below", C::Metrics, &["down", "j"], Some("run")),
    row(A::ViewPrevious, "view-previous", "Previous view", "Show the run's previous table or chart", C::Metrics, &["left", "h"], Some("view")),
    row(A::ViewNext, "view-next", "Next view", "Show the run's next table or chart: figures, layers, details of its own", C::Metrics, &["right", "l"], Some("view")),
    row(A::PageUp, "metrics-page-up", "Figures up", "Scroll the figures up", C::Metrics, &["pageup", "ctrl-u"], None),
    row(A::PageDown, "metrics-page-down", "Figures down", "Scroll the figures down", C::Metrics, &["pagedown", "ctrl-d"], None),
    row(A::PauseJob, "pause-job", "Pause the job", "Let other jobs go first, or let the job go on", C::Metrics, &["p"], Some("pause")),
    row(A::ResumeJob, "resume-job", "Resume the job", "Go on with a job that was paused, interrupted or failed, from where it was; measure one that is done anew", C::Metrics, &["r"], Some("resume, redo")),
    row(A::CancelJob, "cancel-job", "Cancel the job", "End the selected job for good; what it measured so far stays on screen", C::Metrics, &["x"], Some("cancel")),
    row(A::JobEarlier, "job-earlier", "Job earlier", "Move a waiting job up in the queue", C::Metrics, &["K"], None),
    row(A::JobLater, "job-later", "Job later", "Move a waiting job down in the queue", C::Metrics, &["J"], None),
    row(A::WriteResults, "write-results", "Write results", "Write results that could not be written, to another folder if need be", C::Metrics, &["w"], Some("write elsewhere")),
    row(A::Beside, "compare-run", "Compare runs", "Mark this run; others of its metric are then shown beside it", C::Metrics, &["b"], Some("beside")),
    row(A::NextFigure, "next-figure", "Next figure", "Draw the next figure of the table as bars by layer", C::Metrics, &["o"], None),
    row(A::ScrollUp, "atlas-up", "Up", "Move the cross up, or go to the latent above in the list", C::Atlas, &["up", "k"], Some("move")),
    row(A::ScrollDown, "atlas-down", "Down", "Move the cross down, or go to the latent below in the list", C::Atlas, &["down", "j"], Some("move")),
    row(A::AtlasLeft, "atlas-left", "Left, or the column before", "Move the cross to the left, or order the list by the column before", C::Atlas, &["left", "h"], None),
    row(A::AtlasRight, "atlas-right", "Right, or the next column", "Move the cross to the right, or order the list by the next column", C::Atlas, &["right", "l"], None),
    row(A::PageUp, "atlas-page-up", "A page of the list up", "Go up by ten rows of the list", C::Atlas, &["pageup", "ctrl-u"], None),
    row(A::PageDown, "atlas-page-down", "A page of the list down", "Go down by ten rows of the list", C::Atlas, &["pagedown", "ctrl-d"], None),
    row(A::OpenLatent, "atlas-open", "The latent in full", "Open the selected latent; Esc comes back here. Without an atlas: choose what to measure", C::Atlas, &["enter"], Some("latent in full")),
    row(A::AtlasAcross, "atlas-across", "Next column across", "Lay another column across", C::Atlas, &["x"], Some("across")),
    row(A::AtlasAcrossBack, "atlas-across-back", "Previous column across", "Lay the column before across", C::Atlas, &["X"], None),
    row(A::AtlasUpwards, "atlas-upwards", "Next column up", "Lay another column up", C::Atlas, &["v"], Some("up")),
    row(A::AtlasUpwardsBack, "atlas-upwards-back", "Previous column up", "Lay the column before up", C::Atlas, &["V"], None),
    row(A::AtlasRegion, "atlas-region", "Corner of a region", "Set a corner of a region at the cross, then the other: the list has what is inside", C::Atlas, &["space"], Some("region")),
    row(A::AtlasFate, "atlas-fate", "Next fate only", "Show latents of one fate after the other, then all", C::Atlas, &["f"], Some("fate")),
    row(A::AtlasList, "atlas-list", "Next list", "Died first, most changed, new on the pruned model, absorbed, what the loss depends on", C::Atlas, &["w"], Some("lists")),
    row(A::AtlasReverse, "atlas-reverse", "Turn the order", "Order the list the other way round", C::Atlas, &["o"], None),
    row(A::Find, "atlas-find", "Find latents", "Go to a latent by its number, or show only those that have to do with a name or word", C::Atlas, &["/"], Some("find")),
    row(A::AtlasNamed, "atlas-named", "Named latents only", "Show only latents that you gave a name, or all", C::Atlas, &["N"], None),
    row(A::AtlasClear, "atlas-clear", "Everything again", "Take back region and filters", C::Atlas, &["backspace"], Some("all")),
    row(A::AtlasFates, "atlas-fates", "Fates by ratio", "How many latents have which fate at each ratio, or the plot again", C::Atlas, &["F"], Some("fates")),
    row(A::Name, "atlas-name", "Name the latent", "Give the selected latent a name", C::Atlas, &["n"], None),
    row(A::ScrollUp, "study-up", "Session above", "Select the session above", C::Study, &["up", "k"], Some("session")),
    row(A::ScrollDown, "study-down", "Session below", "Select the session below", C::Study, &["down", "j"], Some("session")),
    row(A::SquareLeft, "study-left", "Cell to the left", "Select the cell to the left", C::Study, &["left", "h"], Some("cell")),
    row(A::SquareRight, "study-right", "Cell to the right", "Select the cell to the right", C::Study, &["right", "l"], Some("cell")),
    row(A::PageUp, "study-page-up", "A page of sessions up", "Go up by ten sessions", C::Study, &["pageup", "ctrl-u"], None),
    row(A::PageDown, "study-page-down", "A page of sessions down", "Go down by ten sessions", C::Study, &["pagedown", "ctrl-d"], None),
    row(A::OpenCell, "open-cell", "The cell's figures", "Open the selected cell's result in Metrics, or say why there is none", C::Study, &["enter"], Some("its figures")),
    row(A::ExploreCell, "explore-cell", "The cell's session", "Open the selected cell's models and SAEs in Explore, the trained SAE too if the study has made it", C::Study, &["o"], Some("explore it")),
    row(A::NextCurve, "next-curve", "Next curve", "Draw the next figure of the session against the ratio", C::Study, &["f"], Some("curve")),
    row(A::NextNotable, "next-notable", "Next cell of note", "Go to the next cell that failed, or if none did, to one that is being measured", C::Study, &["n"], None),
    row(A::ScrollUp, "form-up", "Field above", "Go to the field above", C::Form, &["up", "backtab"], Some("field")),
    row(A::ScrollDown, "form-down", "Field below", "Go to the field below", C::Form, &["down", "tab"], Some("field")),
    row(A::ValuePrevious, "form-previous", "Previous value", "Take the previous metric, or the previous of a field's few values", C::Form, &["left"], Some("value")),
    row(A::ValueNext, "form-next", "Next value", "Take the next metric, or the next of a field's few values", C::Form, &["right"], Some("value")),
    row(A::ValueDefault, "form-default", "Default", "Put the field back to its default", C::Form, &["delete"], Some("default")),
    row(A::Accept, "form-start", "Start the job", "Queue the job as the form says", C::Form, &["enter"], Some("start")),
    row(A::ScrollUp, "read-up", "Scroll up", "Scroll up by a line", C::Reader, &["up", "k"], Some("scroll")),
    row(A::ScrollDown, "read-down", "Scroll down", "Scroll down by a line", C::Reader, &["down", "j"], Some("scroll")),
    row(A::PageUp, "read-page-up", "Page up", "Scroll up by a page", C::Reader, &["pageup", "ctrl-u"], None),
    row(A::PageDown, "read-page-down", "Page down", "Scroll down by a page", C::Reader, &["pagedown", "ctrl-d"], None),
    row(A::Retry, "retry", "Try again", "Load the session again after a failure", C::Failed, &["r"], Some("try again")),
    row(A::ScrollUp, "list-up", "Line above", "Move up in a list", C::List, &["up"], None),
    row(A::ScrollDown, "list-down", "Line below", "Move down in a list", C::List, &["down"], None),
    row(A::PageUp, "list-page-up", "Page up", "Move up in a list by a page", C::List, &["pageup"], None),
    row(A::PageDown, "list-page-down", "Page down", "Move down in a list by a page", C::List, &["pagedown"], None),
    row(A::Accept, "accept", "Accept", "Do what is selected", C::List, &["enter"], None),
    row(A::QuitNow, "confirm-quit", "Quit", "Quit, and keep what the jobs have done: they can go on next time", C::Confirm, &["y", "q", "enter"], None),
    row(A::QuitDropping, "confirm-drop", "Quit and cancel", "Quit, and cancel the jobs", C::Confirm, &["x"], None),
    row(A::KeepRunning, "keep-running", "Stay", "Go back and let the job run", C::Confirm, &["n"], None),
    row(A::Session, "session", "Session", "What is loaded, and what uses memory", C::Global, &["i"], None),
    row(A::Log, "log", "Log", "All messages in full", C::Global, &["L"], None),
    row(A::Copy, "copy", "Copy figures", "Send the figures to the clipboard as a Markdown table (OSC 52)", C::Global, &["y"], None),
    row(A::Export, "export", "Export", "Write figures (JSON, CSV, Markdown), the view as a page (HTML) and the screen (SVG, text) to the results folder", C::Global, &["e"], None),
    row(A::Tour, "tour", "Tour", "Be shown around, go on with the tour, or put it away", C::Global, &["T"], None),
    row(A::SaveView, "save-view", "Save the view", "Write what is looked at to a small file that --view opens, here or at a teammate's: :save-view NAME", C::Global, &["ctrl-s"], None),
    row(A::Record, "record", "Record", "Record the screen from now on as an asciinema cast, or end the recording: :record NAME", C::Global, &["R"], None),
    row(A::Explanations, "explanations", "Read explanations", "Read explanations of latents as Neuronpedia exports them (JSONL) and keep them: :explanations FILE", C::Global, &["I"], None),
    row(A::Theme, "theme", "Next theme", "Change to the next theme", C::Global, &["t"], None),
    row(A::Mouse, "mouse", "Mouse on or off", "Take the mouse to point at tokens, latents and the slider, or give it back to the terminal", C::Global, &["ctrl-g"], None),
    row(A::Panel(1), "panel-1", "Prompt", "Go to the prompt; while it is empty, take its first example", C::Global, &["1"], None),
    row(A::Panel(2), "panel-2", "Tokens", "Go to the tokens; while the prompt is empty, take its second example", C::Global, &["2"], None),
    row(A::Panel(3), "panel-3", "Latents", "Go to the table of latents; while the prompt is empty, take its third example", C::Global, &["3"], None),
    row(A::Panel(4), "panel-4", "Latent", "Go to the panel of the selected latent", C::Global, &["4"], None),
    row(A::Panel(5), "panel-5", "Ratio", "Go to the slider", C::Global, &["5"], None),
    row(A::Panel(6), "panel-6", "Figures", "Go to the figures of this prompt", C::Global, &["6"], None),
    row(A::Palette, "commands", "Commands", "Find and run any command", C::Global, &[":"], Some("commands")),
    row(A::Help, "help", "Help", "All keys, and how to read the screen", C::Global, &["?"], Some("help")),
    row(A::Quit, "quit", "Quit", "Leave the program; asks first while a job runs", C::Global, &["q"], Some("quit")),
    row(A::Help, "help-from-prompt", "Help", "All keys, and how to read the screen, from the prompt", C::Prompt, &["f1"], Some("help")),
    row(A::Quit, "quit-from-prompt", "Quit", "Leave the program from the prompt; asks first while a job runs", C::Prompt, &["ctrl-q"], Some("quit")),
    row(A::NextPanel, "next-panel", "Next panel", "Move the focus to the next panel", C::Always, &["tab"], Some("panel")),
    row(A::PreviousPanel, "previous-panel", "Previous panel", "Move the focus to the previous panel", C::Always, &["backtab"], None),
    row(A::Back, "back", "Back", "Close the top layer, leave the prompt, return to Explore", C::Always, &["esc"], Some("back")),
    row(A::Palette, "palette", "Commands", "Find and run any command, from the prompt too", C::Always, &["ctrl-p"], Some("commands")),
    row(A::TourNext, "tour-next", "Next step of the tour", "Go on with the tour without doing what it says", C::Always, &["ctrl-n"], None),
    row(A::TakeUp, "take-up", "Take up the last session", "Go back to the prompt, ratio, token, latent, edits and screen that were left last time", C::Always, &["ctrl-o"], None),
    row(A::Redraw, "redraw", "Redraw", "Draw the whole screen anew", C::Always, &["ctrl-r"], None),
    row(A::Suspend, "suspend", "Suspend", "Stop the program until the shell brings it back", C::Always, &["ctrl-z"], None),
    row(A::QuitNow, "quit-now", "Quit at once", "Leave the program without asking", C::Always, &["ctrl-c"], None),
];

impl Action {
    /// The first row of the table for this action.
    pub fn spec(self) -> Option<&'static ActionSpec> {
        ACTIONS.iter().find(|s| s.action == self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::tui::keys::keymap::Keymap;

    #[test]
    fn a_key_given_wherever_a_latent_is_looked_at_is_hidden_by_no_screen() {
        let keymap = Keymap::with_changes("edit-here = 'o'", "k.toml").unwrap();
        for screen in [Context::Latent, Context::Predictions, Context::Generation] {
            let chain = [screen, Context::OnLatent, Context::Global, Context::Always];
            assert_eq!(keymap.action(&chain, "o".parse().unwrap()), Some(Action::Edit), "{screen:?}");
        }
        // What a screen was given itself goes before it.
        let both = Keymap::with_changes("edit-here = 'o'\ngeneration-settings = 'o'", "k.toml").unwrap();
        let chain = [Context::Generation, Context::OnLatent];
        assert_eq!(both.action(&chain, "o".parse().unwrap()), Some(Action::GenerationSettings));
    }

    #[test]
    fn ids_are_unique_and_rows_say_something() {
        let mut seen = HashSet::new();
        for spec in ACTIONS {
            assert!(seen.insert(spec.id), "{} appears twice", spec.id);
            assert!(spec.title.len() < TITLE, "{} runs into the column beside it", spec.id);
            assert!(!spec.title.is_empty() && !spec.description.is_empty() && !spec.keys.is_empty(), "{}", spec.id);
        }
    }
}
