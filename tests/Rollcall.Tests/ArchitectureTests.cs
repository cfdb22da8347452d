using System.Reflection;

namespace Rollcall.Tests;

/// <summary>Who may know whom.</summary>
public sealed class ArchitectureTests
{
    private static readonly Assembly s_core = typeof(RollcallServices).Assembly;
    private static readonly Assembly s_client = typeof(Rollcall.OneRoster.IRosterSource).Assembly;
    private static readonly Assembly s_sandbox = typeof(Rollcall.Sandbox.SandboxServer).Assembly;

    [Fact]
    public void The_client_and_the_sandbox_know_nobody()
    {
        Assert.DoesNotContain(s_client.GetReferencedAssemblies(), a => a.Name!.StartsWith("Rollcall", StringComparison.OrdinalIgnoreCase));
        Assert.DoesNotContain(s_sandbox.GetReferencedAssemblies(), a => a.Name!.StartsWith("Rollcall", StringComparison.OrdinalIgnoreCase));
        Assert.DoesNotContain(s_core.GetReferencedAssemblies(), a => a.Name is "rollcall" or "Rollcall.Sandbox");
    }

    [Fact]
    public void Only_storage_names_a_database()
    {
        var wrong = s_core
            .GetTypes()
            .Where(t =>
                t.Namespace?.StartsWith("Rollcall", StringComparison.Ordinal) == true
                && !t.Namespace.StartsWith("Rollcall.Storage", StringComparison.Ordinal)
            )
            .Where(t => Members(t).Any(IsProvider))
            .Select(t => t.FullName);
        Assert.Empty(wrong);
    }

    [Fact]
    public void Mapping_and_matching_do_no_work_of_their_own_on_storage_clock_or_network()
    {
        var wrong = s_core
            .GetTypes()
            .Where(t => t.Namespace == "Rollcall.Mapping" || t.Name is "Matcher" or "PersonPlan" or "Guard")
            .Where(t =>
                Members(t)
                    .Any(m =>
                        m == typeof(TimeProvider)
                        || m.Namespace?.StartsWith("Rollcall.Storage", StringComparison.Ordinal) == true
                        || m.Namespace?.StartsWith("System.Net.Http", StringComparison.Ordinal) == true
                    )
            )
            .Select(t => t.FullName);
        Assert.Empty(wrong);
    }

    private static bool IsProvider(Type type) =>
        type.Namespace is { } space
        && (space.StartsWith("Npgsql", StringComparison.Ordinal) || space.StartsWith("Microsoft.Data.Sqlite", StringComparison.Ordinal));

    private static IEnumerable<Type> Members(Type type)
    {
        const BindingFlags all =
            BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        foreach (var field in type.GetFields(all))
        {
            yield return field.FieldType;
        }

        foreach (var method in type.GetMethods(all).Cast<MethodBase>().Concat(type.GetConstructors(all)))
        {
            foreach (var parameter in method.GetParameters())
            {
                yield return parameter.ParameterType;
            }

            foreach (var local in method.GetMethodBody()?.LocalVariables ?? [])
            {
                yield return local.LocalType;
            }
        }
    }
}
