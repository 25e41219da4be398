# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Do four rules give the paper's epochs?
#
# **The paper's claim.** Sleep-EDF's recordings, cut by four rules, give exactly the epochs that the paper was trained on: 42,308 from the 39
# nights of EDF-20 and 195,479 from the 153 nights of EDF-78.
#
# A polysomnogram (PSG) runs for about 20 hours; beside it lies a *hypnogram*, in which an expert has named every 30 s. The rules:
#
# 1. one channel, `EEG Fpz-Cz`, in µV as recorded: no filter, no resampling;
# 2. epochs of 30 s, each with the expert's stage; stages 3 and 4 are both N3, as the AASM manual has it since 2007;
# 3. *first drop* what is not sleep or wake: `Movement time` and the unscored `Sleep stage ?`;
# 4. *then trim* the long day around the night: 30 minutes of wake stay before the first and after the last epoch of sleep.
#
# The order of the last two matters: trimming first would lose one epoch of night SC4092.
#
# In the demo the recordings are simulated: real EDF+ files with Sleep-EDF's names and headers, of short nights. Set `source` to a
# folder of real recordings, or of nights that AttnSleep, DeepSleepNet or TinySleepNet prepared, and nothing else changes.

# %% tags=["parameters"]
profile = "demo"
source = ""                        # folder of recordings; empty simulates them; "data" is the folder SLEEPKIT_DATA
channel = "EEG Fpz-Cz"             # the paper's one channel
seconds = 3.0                      # kept of every 30-s epoch (paper: 30; the demo keeps the first 3 to be quick)
wake_margin_minutes = 30.0         # wake kept on either side of the night
subjects = [0, 1, 2, 3, 20, 21]    # to simulate; a source of recordings is prepared whole
hours = 0.9                        # length of a simulated recording
seed = 0                           # of the simulation

# %%
from sleepkit.epochs import EpochSet
from sleepkit.execution.notebooks import begin
from sleepkit.experiments import Preparation, obtain_recordings, preparation_checks, prepare_nights, stage_counts
from sleepkit.paper import answer, as_table, settings_table
from sleepkit.paper.figures import plot_recording
from sleepkit.results import read

settings = Preparation(profile=profile, source=source, channel=channel, seconds=seconds, wake_margin_minutes=wake_margin_minutes,
                       subjects=subjects, hours=hours, seed=seed)
begin("prepare", vars())
as_table(settings_table(settings))

# %% [markdown]
# ## Nights
#
# PSG and hypnogram belong together by their recording id (`SC4001`: subject 00, night 1), not by the order of their names. The
# signal of one channel is read for the stretch that is kept and no more. A night that cannot be prepared is listed with the reason
# and the cure, and the others go on. A second run leaves finished nights alone.

# %%
folder = obtain_recordings(settings)
table = prepare_nights(folder, settings)
as_table(table.drop(columns=["status", "problem"]))

# %%
as_table(read(profile, "nights.csv").groupby("dataset").n_epochs.agg(nights="size", epochs="sum").reset_index())

# %% [markdown]
# EDF-20 is part of EDF-78, so a night may count for both. `movement` and `unscored` were dropped, `trimmed` is wake beyond the margin. (Official hypnograms run to 24 h and end in
# `Sleep stage ?` beyond the PSG's end; those are not counted, nothing was recorded there.)
#
# ## What the networks will see
#
# The stages are as unequal as in life: a network that only ever says N2 is right in two epochs out of five, and N1, the passage
# between waking and sleep, is rare and looks like its neighbours. Macro-F1, which counts every stage alike, is therefore quoted
# beside accuracy everywhere.

# %%
as_table(stage_counts(table))

# %%
epochs = EpochSet.load(settings.nights, list(table.night[table.status != "failed"]))
print(f"{len(epochs):,} epochs of {len(set(epochs.night))} nights, {epochs.x.shape[1]} samples each at {epochs.fs:g} Hz")
plot_recording(epochs, note=settings.origin)

# %% [markdown]
# **What is to be seen.** The hypnogram of one night, and of each stage the epoch of median amplitude. In real nights alpha waves around
# 10 Hz mark quiet wakefulness, spindles and K-complexes N2, slow waves of more than 75 µV from peak to peak N3, and REM looks like N1. The
# simulated nights of the demo have these waves too, but no single epoch has to show them. The prepared nights lie under `runs/<profile>/nights`, one `.npz` each in the layout that sleep-staging
# projects exchange (`x`, `y`, `fs`, `ch_label`), and their table in `results/<profile>/nights.csv`.
#
# ## The answer
#
# Published, this run, and the committed run on real nights (profile `first5s-cpu`: first 5 s of every epoch, 42,308 epochs of 20 people).

# %% tags=["nbval-ignore-output"]
as_table(answer("prepare", profile))

# %% [markdown]
# ## Checks

# %%
verdict = preparation_checks(table, epochs, settings)
as_table(verdict)

# %%
assert verdict.holds.all(), verdict[~verdict.holds].to_string()
