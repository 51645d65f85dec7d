"""SUBSET + settings -> CHECKPOINT: completion-only fine-tuning with TRL's SFTTrainer, plain or on DeepSpeed.

recipe.py       batch size and learning rate for this share of the data. Loads nothing heavy
plan.py         which rows each update learns from, and how ranks and passes share them. Loads nothing heavy
rows.py         pairs -> token rows under max_length, with a line for each row dropped or cut. Loads no torch
checkpoints.py  what an interrupted training goes on from. Loads no torch
fits.py         what to change when memory runs out. Loads no torch
setup.py        TRL, DeepSpeed and peft as the recipe says
trainer.py      TRL's trainer, reading the planned order
record.py       what a step leaves behind: training.jsonl and the progress line
fit.py          the worker: `python -m qaq.train REQUEST`
"""
