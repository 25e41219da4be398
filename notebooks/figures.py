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
# # What do all tables and figures say?
#
# **What this does.** Every table and figure of the paper is drawn from result files: published numbers beside those of this run, each with the
# data, protocol and seeds that made it.
#
# Nothing is computed here and no network is loaded; the notebook reads `results/<profile>/` and the authors' published numbers, and
# writes `figures/<profile>/`: figures as SVG and PNG, tables as CSV, Markdown and LaTeX, and `index.md`, which lists all 30 items with
# the notebook and the command behind each. Where a profile has no results for an item, the published numbers stand alone and the
# index says so, or the item is listed as missing; none is drawn from made-up numbers.

# %% tags=["parameters"]
profile = "demo"

# %%
from sleepkit.execution.notebooks import begin
from sleepkit.paper import as_table, show
from sleepkit.paper.display import figure_checks, show_differences, write_index
from sleepkit.paper.items import ITEMS

begin("figures", vars())
print(f"profile {profile}: {len(ITEMS)} items")

# %% [markdown]
# ## The method
#
# Stage 1 searches an architecture, prunes data and operations on its way, and trains what was found; stage 2 scores its filters, removes
# half of them and fine-tunes the rest. Where the paper, the released code and this companion part ways stands in table 11.

# %% tags=["nbval-ignore-output"]
show("fig01", profile)

# %% tags=["nbval-ignore-output"]
show("tab11", profile)

# %% [markdown]
# ## The data
#
# Epochs per stage, as prepared and after data pruning. The authors' released code removed validation samples by their variance of
# error but training samples in effect at random, and never applied the class limits, so its counts after pruning differ from what the
# method describes.

# %% tags=["nbval-ignore-output"]
show("tab01", profile)

# %% tags=["nbval-ignore-output"]
show("tab02", profile)

# %% [markdown]
# ## The search
#
# Loss and accuracy of both halves, pruning rounds, what is left, and the temperature; in grey what the authors printed.

# %% tags=["nbval-ignore-output"]
show("fig06", profile)

# %% [markdown]
# How the operations of every edge grow apart as the temperature falls, and which epochs data pruning removes.

# %% tags=["nbval-ignore-output"]
show("fig07", profile)

# %% tags=["nbval-ignore-output"]
show("fig08", profile)

# %% [markdown]
# ## The cells
#
# Published above, found below. Boxes are operations, states are the cell's two inputs and its nodes, and all nodes together are the
# cell's output.

# %% tags=["nbval-ignore-output"]
show("fig02", profile)

# %% tags=["nbval-ignore-output"]
show("fig03", profile)

# %% tags=["nbval-ignore-output"]
show("fig04", profile)

# %% tags=["nbval-ignore-output"]
show("fig05", profile)

# %% [markdown]
# ## Scores
#
# Published numbers were made by the authors' protocol (`epochwise`: epochs of one person in training and test, and the best epoch on the
# test fold); this run's protocol stands in a row of its own. The two are not comparable, which is why both are shown.

# %% tags=["nbval-ignore-output"]
show("fig09", profile)

# %% tags=["nbval-ignore-output"]
show("fig10", profile)

# %% tags=["nbval-ignore-output"]
show("fig11", profile)

# %% tags=["nbval-ignore-output"]
show("tab03", profile)

# %% tags=["nbval-ignore-output"]
show("tab04", profile)

# %% tags=["nbval-ignore-output"]
show("tab05", profile)

# %% tags=["nbval-ignore-output"]
show("tab06", profile)

# %% [markdown]
# Among others: accuracy against size, and the state of the art with its protocol in a column of its own.

# %% tags=["nbval-ignore-output"]
show("fig14", profile)

# %% tags=["nbval-ignore-output"]
show("tab07", profile)

# %% [markdown]
# ## Filters, ablation, protocols
#
# Importance of the filters, what each level of pruning contributes, and what a night's context adds.

# %% tags=["nbval-ignore-output"]
show("fig12", profile)

# %% [markdown]
# Subject by subject, what pruning changes in accuracy; each bar is a 95 % interval over people.

# %% tags=["nbval-ignore-output"]
show_differences(profile)

# %% tags=["nbval-ignore-output"]
show("fig13", profile)

# %% tags=["nbval-ignore-output"]
show("tab08", profile)

# %% tags=["nbval-ignore-output"]
show("tab10", profile)

# %% [markdown]
# ## Can its probabilities be trusted, and what does an answer cost?
#
# A calibrated network is right in 70 % of the epochs of which it says 70 %. Cost is measured on one thread of the processor that ran
# the stage-2 notebook.

# %% tags=["nbval-ignore-output"]
show("fig16", profile)

# %% tags=["nbval-ignore-output"]
show("fig17", profile)

# %% tags=["nbval-ignore-output"]
show("tab09", profile)

# %% [markdown]
# ## Does it fit a wearable?
#
# Beyond the paper, which claims it: the package's networks as C on an emulated microcontroller (`python -m sleepkit bench wearable`).
# In windows of 5 s all fit 256 kB of RAM; in one of 30 s only half of the filters in 8-bit integers does. Time is not the limit.

# %% tags=["nbval-ignore-output"]
show("fig18", profile)

# %% tags=["nbval-ignore-output"]
show("tab12", profile)

# %% [markdown]
# ## One night

# %% tags=["nbval-ignore-output"]
show("fig15", profile)

# %% [markdown]
# ## The index and the checks

# %%
print(write_index(profile).read_text().split("\n\n")[0])

# %%
verdict = figure_checks(profile)
as_table(verdict)

# %%
assert verdict.holds.all(), verdict[~verdict.holds].to_string()
