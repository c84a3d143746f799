"""A machine with a GPU for an hour: tests, step times, data and published trainings, with all that is found kept in a folder.

``python -m experiments.playbook out=FOLDER`` works until its time is over and goes on when it is called again. What is done
is what lies in the folder: one JSON file a unit of work.
"""
