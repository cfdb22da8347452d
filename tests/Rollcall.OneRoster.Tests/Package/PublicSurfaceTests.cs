using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Rollcall.OneRoster.Tests.Package;

/// <summary>What others can call is written down, so that nothing enters or leaves it unseen. <c>ROLLCALL_WRITE_DOCS=true</c> writes it anew.</summary>
public sealed class PublicSurfaceTests
{
    private static readonly NullabilityInfoContext s_nulls = new();

    [Fact]
    public async Task The_public_surface_is_the_recorded_one()
    {
        var path = Path.Combine(Repository.Root, "src", "Rollcall.OneRoster", "PublicSurface.txt");
        var surface = Describe(typeof(IRosterSource).Assembly);
        if (Environment.GetEnvironmentVariable("ROLLCALL_WRITE_DOCS") == "true")
        {
            await File.WriteAllTextAsync(path, surface, TestContext.Current.CancellationToken);
        }

        var recorded = await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken);
        Assert.Equal(recorded.ReplaceLineEndings("\n"), surface);
    }

    [Fact]
    public void Nothing_public_shows_what_is_not() =>
        Assert.All(
            typeof(IRosterSource).Assembly.GetExportedTypes(),
            t => Assert.StartsWith("Rollcall.OneRoster", t.Namespace, StringComparison.Ordinal)
        );

    private static string Describe(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (var type in assembly.GetExportedTypes().OrderBy(t => t.FullName, StringComparer.Ordinal))
        {
            var kind =
                type.IsInterface ? "interface"
                : type.IsEnum ? "enum"
                : type.IsValueType ? "struct"
                : type is { IsAbstract: true, IsSealed: true } ? "static class"
                : type.IsAbstract ? "abstract class"
                : "class";
            var bases = (
                type.BaseType is { } b && b != typeof(object) && b != typeof(ValueType) && b != typeof(Enum) ? [b] : Type.EmptyTypes
            )
                .Concat(type.GetInterfaces().Where(i => i.Assembly == assembly || i == typeof(IDisposable)))
                .Select(Name)
                .ToList();
            text.Append(kind).Append(' ').Append(type.FullName!.Split('`')[0]).Append(Arguments(type));
            text.Append(bases.Count == 0 ? "" : " : " + string.Join(", ", bases)).Append('\n');
            foreach (var line in type.IsEnum ? Enum.GetNames(type) : Members(type))
            {
                text.Append("    ").Append(line).Append('\n');
            }
        }

        return text.ToString();
    }

    private static IEnumerable<string> Members(Type type)
    {
        const BindingFlags own =
            BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        return type.GetMembers(own)
            .Where(m => m is not MethodInfo { IsSpecialName: true } && m.GetCustomAttribute<CompilerGeneratedAttribute>() is null)
            .Select(m =>
                m switch
                {
                    ConstructorInfo c when Seen(c) => $"new({Parameters(c)})",
                    MethodInfo o when Seen(o) && o.GetBaseDefinition() == o =>
                        $"{(o.IsStatic ? "static " : "")}{Name(o.ReturnType, s_nulls.Create(o.ReturnParameter))} {o.Name}({Parameters(o)})",
                    PropertyInfo p when p.GetMethod is { } get && Seen(get) =>
                        $"{(get.IsStatic ? "static " : "")}{Name(p.PropertyType, s_nulls.Create(p))} {p.Name} {{ get;{Setter(p)} }}",
                    FieldInfo f when f.IsPublic || f.IsFamily => $"{(f.IsLiteral ? "const " : "")}{Name(f.FieldType)} {f.Name}",
                    _ => null,
                }
            )
            .OfType<string>()
            .Where(l => !l.StartsWith("bool Equals(", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal);
    }

    private static bool Seen(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static string Setter(PropertyInfo property) =>
        property.SetMethod is not { } set || !Seen(set) ? ""
        : set.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) ? " init;"
        : " set;";

    private static string Parameters(MethodBase method) =>
        string.Join(
            ", ",
            method.GetParameters().Select(p => $"{Name(p.ParameterType, s_nulls.Create(p))} {p.Name}{(p.IsOptional ? " = default" : "")}")
        );

    /// <summary>A type with its question marks, those of references too.</summary>
    private static string Name(Type type, NullabilityInfo nulls)
    {
        if (type.IsValueType && Nullable.GetUnderlyingType(type) is null && !type.IsGenericType)
        {
            return Name(type);
        }

        var name =
            type.IsGenericType && Nullable.GetUnderlyingType(type) is null
                ? $"{type.Name.Split('`')[0]}<{string.Join(", ", type.GetGenericArguments().Zip(nulls.GenericTypeArguments, Name))}>"
                : Name(type);
        return !type.IsValueType && (nulls.ReadState == NullabilityState.Nullable || nulls.WriteState == NullabilityState.Nullable)
            ? name + "?"
            : name;
    }

    private static string Name(Type type) =>
        type.IsByRef ? "ref " + Name(type.GetElementType()!)
        : type.IsArray ? Name(type.GetElementType()!) + "[]"
        : Nullable.GetUnderlyingType(type) is { } inner ? Name(inner) + "?"
        : type.IsGenericParameter ? type.Name
        : Keyword(type) ?? (type.Name.Split('`')[0] + Arguments(type));

    private static string Arguments(Type type) =>
        type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(Name))}>" : "";

    private static string? Keyword(Type type) =>
        type == typeof(void) ? "void"
        : type == typeof(string) ? "string"
        : type == typeof(bool) ? "bool"
        : type == typeof(int) ? "int"
        : type == typeof(long) ? "long"
        : type == typeof(double) ? "double"
        : type == typeof(object) ? "object"
        : null;
}
