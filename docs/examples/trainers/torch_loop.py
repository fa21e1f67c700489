"""A small network learns handwritten digits, as PyTorch's tutorial trains."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from attent.data import digits
from attent_torch import Plan, Teacher

torch.manual_seed(0)
d = digits()
train = TensorDataset(torch.from_numpy(d.x_train / 16).float(), torch.from_numpy(d.y_train).long())
test = torch.from_numpy(d.x_test / 16).float(), torch.from_numpy(d.y_test).long()
loader = DataLoader(train, batch_size=32, shuffle=True)

model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * len(loader))
teacher = Teacher(Plan.auto(epochs=5, batch_size=32), loader, scheduler=scheduler)

for epoch in range(5):
    model.train()
    for x, y in teacher(loader):
        loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(test[0]).argmax(1) == test[1]).float().mean().item()
    print(epoch, round(accuracy, 3))
