using System.Globalization;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A district over several days against the sandbox's ledger of what truly happened.</summary>
public sealed class DaysTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task After_each_day_every_patron_equals_the_ledger(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 400, Schools = 4 });
        await system.ConfigureAsync(s =>
            s with
            {
                Map = new FieldMap { Location = LocationSource.TeacherName, CommunityId = new IdMapping(IdSource.UserIdType, "StateID") },
            }
        );
        var barcodes = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var day = 0; day <= 5; day++)
        {
            system.Sandbox.SetDay(day);
            var operation = await system.SyncAsync();
            Assert.Null(operation.Error);
            Assert.Contains(operation.Status, (OperationStatus[])[OperationStatus.Completed, OperationStatus.CompletedWithWarnings]);
            var counts = OperationQueue.CountsOf(operation);
            Assert.True(counts.AddUp, counts.ToString());
            Assert.True(day > 0 || counts.Created > 400, counts.ToString());
            await AssertEqualsLedgerAsync(system, barcodes);

            var version = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
            var again = await system.SyncAsync();
            var unchanged = OperationQueue.CountsOf(again);
            Assert.Equal(unchanged.Read, unchanged.Unchanged + unchanged.Skipped);
            Assert.Equal(version, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        }
    }

    private static async Task AssertEqualsLedgerAsync(Installation system, Dictionary<string, string> barcodes)
    {
        var patrons = await system.PatronsByGuidAsync();
        var sites = (await system.Get<Rollcall.Districts.SiteService>().ListAsync(system.District.Id)).ToDictionary(s => s.Id, s => s.Guid);
        var people = system
            .Sandbox.District.People.Where(p => p.Group is SandboxRoleGroup.Student or SandboxRoleGroup.Teacher or SandboxRoleGroup.Admin)
            .ToList();
        foreach (var person in people)
        {
            if (!patrons.TryGetValue(person.SourcedId, out var patron))
            {
                Assert.True(
                    person.Presence != SandboxPresence.Present
                        || person.FamilyName.Length == 0
                        || person.Orgs.Count == 0
                        || !sites.ContainsValue(person.Orgs[0]),
                    $"{person.SourcedId} is missing"
                );
                continue;
            }

            if (barcodes.TryGetValue(person.SourcedId, out var barcode))
            {
                Assert.Equal(barcode, patron.Barcode);
            }

            barcodes[person.SourcedId] = patron.Barcode;
            if (person.Presence != SandboxPresence.Present)
            {
                Assert.Equal(PatronStatus.Transferred, patron.Status);
                continue;
            }

            Assert.Equal(PatronStatus.Active, patron.Status);
            Assert.Equal(Clean(person.GivenName) ?? patron.FirstName, patron.FirstName);
            Assert.Equal(Clean(person.FamilyName), patron.LastName);
            Assert.Equal(Clean(person.Grade) ?? patron.Level, patron.Level);
            Assert.Equal(person.Orgs[0], sites[patron.SiteId!.Value]);
            Assert.Equal(Clean(person.Email) ?? patron.Email, patron.Email);
            Assert.Equal(person.BirthDate ?? patron.Birthdate, patron.Birthdate);
            if (person.Group == SandboxRoleGroup.Student)
            {
                Assert.Equal(Clean(person.Homeroom?.Teacher) ?? patron.Location, patron.Location);
                Assert.Equal(
                    Clean(string.Join("; ", person.Guardians.Select(g => g.Text).Where(t => t.Length > 0))),
                    patron.AdditionalContact
                );
                Assert.Equal(
                    Clean(
                        string.Join(
                            "; ",
                            person.Guardians.Select(g => g.Email).Where(e => e.Length > 0).Distinct(StringComparer.OrdinalIgnoreCase)
                        )
                    ),
                    patron.OtherEmails
                );
                Assert.Equal(
                    Clean(person.UserIds.FirstOrDefault(u => u.Type == "StateID")?.Identifier) ?? patron.CommunityId,
                    patron.CommunityId
                );
            }
        }

        Assert.Equal(patrons.Count, (await system.AllPatronsAsync()).Count);
        Assert.Subset(people.Select(p => p.SourcedId).ToHashSet(StringComparer.Ordinal), patrons.Keys.ToHashSet(StringComparer.Ordinal));
    }

    private static string? Clean(string? text) => Text.Clean(text);
}
